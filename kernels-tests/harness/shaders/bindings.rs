//! What a shader declares against what its launch gives: bindings, and the fields of the uniform block.

use std::collections::BTreeMap;

use langevin::gpu::{Access, Const, Kernel};
use naga::{AddressSpace, ArraySize, Handle, Module, Scalar, StorageAccess, Type, TypeInner, VectorSize};

/// Names and types of the fields of a uniform block.
pub type Fields = Vec<(&'static str, &'static str)>;

/// The fields as they are compared: an array has its name at each of its words.
pub fn fields(uniform: &[(&'static str, Const)]) -> Fields {
    uniform.iter().map(|(name, value)| (*name, value.wgsl_type())).collect()
}

/// Compares the bindings that the shader declares with those of the launch: numbers, kinds of access, and the names, order, types and
/// offsets of the fields of the uniform block.
///
/// # Errors
/// Both lists, where they differ.
pub fn compare(source: &str, kernel: &Kernel, fields: &Fields) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let declared = declared(&module)?;
    let mut given: BTreeMap<u32, String> = (0..)
        .zip(&kernel.access)
        .map(|(at, access)| (at, if *access == Access::Read { "read" } else { "read_write" }.to_owned()))
        .collect();
    let origin = [("origin", "u32"); 4];
    let words = origin.iter().chain(fields).zip(0..).map(|((name, kind), i)| word(4 * i, name, kind));
    given.insert(kernel.access.len() as u32, words.collect());
    if declared == given {
        return Ok(());
    }
    Err(format!("the shader declares the bindings\n  {declared:?}\nand the launch gives\n  {given:?}"))
}

/// What the shader declares at each number: a storage buffer's access, or the words of the uniform block.
fn declared(module: &Module) -> Result<BTreeMap<u32, String>, String> {
    let mut declared = BTreeMap::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else { continue };
        let kind = match variable.space {
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => "read_write".into(),
            AddressSpace::Storage { .. } => "read".into(),
            AddressSpace::Uniform => block(module, variable.ty)?,
            space => return Err(format!("binding {} is in {space:?}", binding.binding)),
        };
        if binding.group != 0 || declared.insert(binding.binding, kind).is_some() {
            return Err(format!(
                "binding {} of group {} is not the only one",
                binding.binding, binding.group
            ));
        }
    }
    Ok(declared)
}

/// A word of a uniform block.
fn word(offset: u32, name: &str, kind: &str) -> String {
    format!("{offset}:{name}:{kind} ")
}

/// The words of a uniform block: offset, name and type of each. Those of a vector, and of an array of vectors, have its name.
fn block(module: &Module, handle: Handle<Type>) -> Result<String, String> {
    let TypeInner::Struct { members, .. } = &module.types[handle].inner else {
        return Err("the uniform block is no struct".into());
    };
    let mut words = String::new();
    for member in members {
        let name = member.name.as_deref().unwrap_or_default();
        let refused = || format!("the field {name} of the uniform block is of a type that no launch gives");
        let (scalar, count) = words_of(module, member.ty).ok_or_else(refused)?;
        let kind = match scalar {
            Scalar::U32 => "u32",
            Scalar::I32 => "i32",
            Scalar::F32 => "f32",
            _ => return Err(refused()),
        };
        words.extend((0..count).map(|i| word(member.offset + 4 * i, name, kind)));
    }
    Ok(words)
}

/// What a member of a uniform block is made of, and how many words it has, where they leave no gaps.
fn words_of(module: &Module, handle: Handle<Type>) -> Option<(Scalar, u32)> {
    match module.types[handle].inner {
        TypeInner::Scalar(scalar) => Some((scalar, 1)),
        TypeInner::Vector { size: VectorSize::Quad, scalar } => Some((scalar, 4)),
        TypeInner::Array { base, size: ArraySize::Constant(count), stride } => {
            let (scalar, words) = words_of(module, base)?;
            (stride == 4 * words).then_some((scalar, words * count.get()))
        }
        _ => None,
    }
}

/// The comparison can fail: a launch of `broadcast/spread.wgsl` with another name, type, order or access is refused.
#[test]
fn differences_are_found() {
    let kernel = Kernel {
        shader: "broadcast/spread.wgsl",
        text: None,
        constants: vec![("V", Const::U32(1))],
        access: vec![Access::Read, Access::ReadWrite],
    };
    let source = kernel.source().unwrap();
    let right: Fields = vec![("count", "u32"), ("size", "u32"), ("factor", "f32")];
    compare(&source, &kernel, &right).unwrap();
    let wrong: [Fields; 5] = [
        vec![("count", "u32"), ("size", "u32"), ("k", "f32")],
        vec![("count", "u32"), ("size", "i32"), ("factor", "f32")],
        vec![("size", "u32"), ("count", "u32"), ("factor", "f32")],
        vec![("count", "u32"), ("size", "u32")],
        vec![("", "u32"), ("size", "u32")],
    ];
    for fields in wrong {
        assert!(compare(&source, &kernel, &fields).is_err(), "{fields:?}");
    }
    let written = Kernel { access: vec![Access::ReadWrite; 2], ..kernel.clone() };
    assert!(compare(&source, &written, &right).is_err());
    let unbound = Kernel { access: vec![Access::ReadWrite], ..kernel };
    assert!(compare(&source, &unbound, &right).is_err());
}
