//! The stack machine: the opcodes of protocols 2 to 5.

use std::sync::Arc;

use super::{Global, Node, NodeId, Pickle, Value, kind};
use crate::Result;
use crate::checkpoint::source::{Budget, Source, Stream};

/// Instructions of one pickle; the largest model has a few hundred thousand.
const MAX_OPCODES: u64 = 1 << 26;
/// Nested marks; real files have about 6.
const MAX_MARKS: usize = 256;
/// Characters of a name or an opcode's argument in a message.
const SHOWN: usize = 80;

/// What a step gives; the error is a problem without file and position, which [`read`] adds.
pub(super) type Step<T> = std::result::Result<T, String>;

pub(super) struct Machine<'a> {
    pub(super) nodes: Vec<Node>,
    pub(super) stack: Vec<Value>,
    pub(super) marks: Vec<usize>,
    pub(super) memo: Vec<Option<Value>>,
    pub(super) budget: &'a mut Budget,
}

/// Reads one pickle from the stream's position to its STOP. `what` names it in messages.
///
/// Errors: [`crate::Error::Format`] that names the file, the byte and the reason; nothing in the pickle is ever run.
pub(in crate::checkpoint) fn read(
    source: &Source,
    stream: &mut Stream,
    budget: &mut Budget,
    what: &str,
) -> Result<Pickle> {
    let mut machine =
        Machine { nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new(), budget };
    for _ in 0..MAX_OPCODES {
        let at = stream.position();
        let opcode = stream.byte()?;
        match machine.step(opcode, stream) {
            Ok(Some(root)) => return Ok(Pickle { nodes: machine.nodes, root }),
            Ok(None) => {}
            Err(Problem::Own(problem)) => return Err(source.bad(format!("{what}, byte {at}: {problem}"))),
            Err(Problem::Source(error)) => return Err(error),
        }
    }
    Err(source.bad(format!("{what} has more than {MAX_OPCODES} instructions")))
}

/// A problem of the pickle itself, or one that the source reported.
enum Problem {
    Own(String),
    Source(crate::Error),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::Own(problem)
    }
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Self::Own(problem.into())
    }
}

impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        Self::Source(error)
    }
}

/// Printable, and short.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

impl Machine<'_> {
    /// A name: one that stands for data, or one that nothing is known of and nothing is done with.
    fn global(&mut self, module: &str, name: &str) -> Step<Value> {
        match Global::find(module, name) {
            Some(global) => self.alloc(Node::Global(global)),
            None => {
                let name = format!("{}.{}", shown(module), shown(name));
                self.budget.charge(name.len() as u64)?;
                self.opaque(name.into(), None)
            }
        }
    }

    /// What `callee(*args)` is: data where the name is known, else an object without a content.
    fn call(&mut self, callee: Value, args: Value) -> Step<Value> {
        let node = match callee {
            Value::Node(NodeId(id)) => self.nodes.get(id as usize),
            _ => None,
        };
        match node {
            Some(Node::Global(global)) => self.reduce(*global, args),
            Some(Node::Opaque(opaque)) => {
                let name = Arc::clone(&opaque.name);
                self.opaque(name, None)
            }
            _ => Err(format!("it calls {}", kind(callee, node))),
        }
    }

    fn pop_str(&mut self) -> Step<String> {
        let value = self.pop()?;
        let node = match value {
            Value::Node(NodeId(id)) => self.nodes.get(id as usize),
            _ => None,
        };
        match node {
            Some(Node::Str(text)) if text.len() <= 256 => Ok(text.to_string()),
            _ => Err(format!("a global's name is {}", kind(value, node))),
        }
    }

    fn text(&mut self, stream: &mut Stream, len: u64) -> std::result::Result<(), Problem> {
        self.room(stream, len)?;
        let text = String::from_utf8(stream.bytes(len)?).map_err(|_| "a string is not UTF-8")?;
        let value = self.alloc(Node::Str(text.into()))?;
        Ok(self.push(value)?)
    }

    fn raw(&mut self, stream: &mut Stream, len: u64) -> std::result::Result<(), Problem> {
        self.room(stream, len)?;
        let bytes = stream.bytes(len)?;
        let value = self.alloc(Node::Bytes(bytes.into()))?;
        Ok(self.push(value)?)
    }

    /// Python 2's strings: text where they can be, else bytes.
    fn old_text(&mut self, stream: &mut Stream, len: u64) -> std::result::Result<(), Problem> {
        self.room(stream, len)?;
        let node = match String::from_utf8(stream.bytes(len)?) {
            Ok(text) => Node::Str(text.into()),
            Err(error) => Node::Bytes(error.into_bytes().into()),
        };
        let value = self.alloc(node)?;
        Ok(self.push(value)?)
    }

    /// A length is checked against what follows, and charged, before anything is allocated.
    fn room(&mut self, stream: &Stream, len: u64) -> Step<()> {
        if len > stream.remaining() {
            return Err(format!("a string of {len} bytes is announced, {} bytes follow", stream.remaining()));
        }
        self.budget.charge(len)
    }

    /// An integer of `len` bytes.
    fn long(&mut self, stream: &mut Stream, len: u64) -> std::result::Result<(), Problem> {
        if len > 8 {
            // Only the magic number of legacy files is that long.
            return self.raw(stream, len);
        }
        let bytes = stream.bytes(len)?;
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(&bytes);
        let spare = 64 - 8 * len as u32;
        let value = if len == 0 { 0 } else { (i64::from_le_bytes(word) << spare) >> spare };
        Ok(self.push(Value::Int(value))?)
    }

    /// One instruction. Gives the root at STOP.
    fn step(&mut self, opcode: u8, stream: &mut Stream) -> std::result::Result<Option<Value>, Problem> {
        match opcode {
            // PROTO, FRAME: the version, and lengths that only help buffering.
            0x80 => match stream.byte()? {
                2..=5 => {}
                version => return Err(format!("pickle protocol {version}; 2 to 5 are read").into()),
            },
            0x95 => drop(stream.array::<8>()?),
            // STOP
            b'.' => {
                let root = self.pop()?;
                return match (self.stack.len(), self.marks.len()) {
                    (0, 0) => Ok(Some(root)),
                    _ => Err("it stops with values left on the stack".into()),
                };
            }
            b'(' if self.marks.len() >= MAX_MARKS => {
                return Err(format!("more than {MAX_MARKS} levels of nesting").into());
            }
            b'(' => self.marks.push(self.stack.len()),
            // POP, POP_MARK, DUP
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => self.push(self.top()?)?,
            // NONE, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' => self.push(Value::Int(i32::from_le_bytes(stream.array()?).into()))?,
            b'K' => self.push(Value::Int(stream.byte()?.into()))?,
            b'M' => self.push(Value::Int(u16::from_le_bytes(stream.array()?).into()))?,
            0x8a => {
                let len = stream.byte()?.into();
                self.long(stream, len)?;
            }
            0x8b => {
                let len = u32::from_le_bytes(stream.array()?).into();
                self.long(stream, len)?;
            }
            b'G' => self.push(Value::Float(f64::from_be_bytes(stream.array()?)))?,
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' => {
                let len = u32::from_le_bytes(stream.array()?).into();
                self.text(stream, len)?;
            }
            0x8c => {
                let len = stream.byte()?.into();
                self.text(stream, len)?;
            }
            0x8d => {
                let len = u64::from_le_bytes(stream.array()?);
                self.text(stream, len)?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' => {
                let len = u32::from_le_bytes(stream.array()?).into();
                self.raw(stream, len)?;
            }
            b'C' => {
                let len = stream.byte()?.into();
                self.raw(stream, len)?;
            }
            0x8e | 0x96 => {
                let len = u64::from_le_bytes(stream.array()?);
                self.raw(stream, len)?;
            }
            // BINSTRING, SHORT_BINSTRING
            b'T' => {
                let len = u32::from_le_bytes(stream.array()?).into();
                self.old_text(stream, len)?;
            }
            b'U' => {
                let len = stream.byte()?.into();
                self.old_text(stream, len)?;
            }
            // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b')' => self.push(Value::EmptyTuple)?,
            b't' => {
                let items = self.pop_mark()?;
                self.tuple(items)?;
            }
            0x85..=0x87 => self.tuple_of(usize::from(opcode - 0x84))?,
            // EMPTY_LIST, LIST, APPEND, APPENDS; a set is a list here: EMPTY_SET, FROZENSET, ADDITEMS
            b']' | 0x8f => {
                let list = self.alloc(Node::List(Vec::new()))?;
                self.push(list)?;
            }
            b'l' | 0x91 => {
                let items = self.pop_mark()?;
                let list = self.alloc(Node::List(items))?;
                self.push(list)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(self.top()?, &[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(self.top()?, &items)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => {
                let dict = self.alloc(Node::Dict(Vec::new()))?;
                self.push(dict)?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                let dict = self.alloc(Node::Dict(Vec::new()))?;
                self.set_items(dict, &items)?;
                self.push(dict)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(self.top()?, &[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(self.top()?, &items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let index = stream.byte()?.into();
                self.memoize(index)?;
            }
            b'r' => {
                let index = u32::from_le_bytes(stream.array()?);
                self.memoize(index)?;
            }
            0x94 => {
                let index = u32::try_from(self.memo.len()).map_err(|_| "the memo is full")?;
                self.memoize(index)?;
            }
            b'h' => {
                let index = stream.byte()?.into();
                self.recall(index)?;
            }
            b'j' => {
                let index = u32::from_le_bytes(stream.array()?);
                self.recall(index)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let global = self.named(stream)?;
                self.push(global)?;
            }
            0x93 => {
                let name = self.pop_str()?;
                let module = self.pop_str()?;
                let global = self.global(&module, &name)?;
                self.push(global)?;
            }
            // REDUCE, NEWOBJ, NEWOBJ_EX (whose last operand are arguments by name)
            b'R' | 0x81 | 0x92 => {
                if opcode == 0x92 {
                    self.pop()?;
                }
                let args = self.pop()?;
                let callee = self.pop()?;
                let result = self.call(callee, args)?;
                self.push(result)?;
            }
            // INST, OBJ: objects of Python 2, whose arguments lie above a mark.
            b'i' | b'o' => {
                let mut items = if opcode == b'i' { vec![self.named(stream)?] } else { Vec::new() };
                items.extend(self.pop_mark()?);
                let [callee, args @ ..] = &items[..] else { return Err("an object has no class".into()) };
                self.tuple(args.to_vec())?;
                let args = self.pop()?;
                let result = self.call(*callee, args)?;
                self.push(result)?;
            }
            // BUILD
            b'b' => {
                let state = self.pop()?;
                self.build(self.top()?, state)?;
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                let storage = self.persistent(id)?;
                self.push(storage)?;
            }
            _ => {
                let shown = shown(&char::from(opcode).to_string());
                return Err(format!(
                    "the instruction 0x{opcode:02x} ({shown}) is not one that writes plain data"
                )
                .into());
            }
        }
        Ok(None)
    }

    /// The name in a GLOBAL or INST instruction: two lines.
    fn named(&mut self, stream: &mut Stream) -> std::result::Result<Value, Problem> {
        let module = line(stream)?;
        let name = line(stream)?;
        Ok(self.global(&module, &name)?)
    }
}

/// A line of a GLOBAL instruction, without its end.
fn line(stream: &mut Stream) -> std::result::Result<String, Problem> {
    let mut line = Vec::new();
    loop {
        match stream.byte()? {
            b'\n' => break,
            _ if line.len() >= 256 => return Err("a global's name is longer than 256 bytes".into()),
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(|_| "a global's name is not UTF-8".into())
}
