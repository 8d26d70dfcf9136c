//! Protobuf's wire format, as much of it as `tf.train.Example` and TensorBoard's `Event` need.
//!
//! Written here rather than taken from a crate: `prost` and `quick-protobuf` generate code from `.proto` files, which is more source
//! than the seven fields that are read and written, and build a copy of a message where a slice of the record does.

/// The value of one field, undecoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wire<'a> {
    /// Wire type 0: int32, int64, uint64, bool, enum.
    Varint(u64),
    /// Wire type 1: double, fixed64.
    Fixed64(u64),
    /// Wire type 2: string, bytes, a message, packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5: float, fixed32.
    Fixed32(u32),
}

/// Iterates over the fields of a message as (number, value). Ends after the first error.
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of a message.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// Takes a varint off the front of `bytes`.
///
/// # Errors
/// Says what is wrong where the bytes end early or the number has more than 64 bits.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&b, rest) = bytes.split_first().ok_or("a varint ends early")?;
        *bytes = rest;
        if shift == 63 && b > 1 {
            return Err("a varint has more than 64 bits");
        }
        value |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            return Ok(value);
        }
    }
    Err("a varint has more than 64 bits")
}

impl<'a> Fields<'a> {
    fn take(&mut self, n: u64) -> Result<&'a [u8], &'static str> {
        let n = usize::try_from(n).map_err(|_| "a field is longer than its message")?;
        let (front, rest) = self.rest.split_at_checked(n).ok_or("a field is longer than its message")?;
        self.rest = rest;
        Ok(front)
    }

    fn field(&mut self) -> Result<(u32, Wire<'a>), &'static str> {
        let tag = take_varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).map_err(|_| "a field number is over 32 bits")?;
        let short = "a field is longer than its message";
        let value = match tag & 7 {
            0 => Wire::Varint(take_varint(&mut self.rest)?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| short)?)),
            2 => {
                let n = take_varint(&mut self.rest)?;
                Wire::Bytes(self.take(n)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| short)?)),
            _ => return Err("an unknown wire type"),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// A message being written.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, number: u32, wire: u64) {
        self.put_varint(u64::from(number) << 3 | wire);
    }

    /// Appends an int64, int32, bool or enum field.
    pub fn int(mut self, number: u32, value: i64) -> Self {
        self.tag(number, 0);
        self.put_varint(value as u64);
        self
    }

    /// Appends a double field.
    pub fn double(mut self, number: u32, value: f64) -> Self {
        self.tag(number, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends a float field.
    pub fn float(mut self, number: u32, value: f32) -> Self {
        self.tag(number, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends a bytes or string field, or packed numbers.
    pub fn bytes(mut self, number: u32, value: &[u8]) -> Self {
        self.tag(number, 2);
        self.put_varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// Appends a message field.
    pub fn message(self, number: u32, value: Message) -> Self {
        self.bytes(number, &value.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes() {
        // The examples of the protobuf encoding guide: 150, "testing", a nested 150, -2.
        assert_eq!(Message::new().int(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().bytes(2, b"testing").into_bytes(), b"\x12\x07testing");
        let nested = Message::new().message(3, Message::new().int(1, 150));
        assert_eq!(nested.into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let minus_two = [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Message::new().int(1, -2).into_bytes(), minus_two);
    }

    #[test]
    fn fields_come_back() {
        let bytes = Message::new().int(1, -2).double(2, 0.5).bytes(300, b"ab").float(4, -1.5).into_bytes();
        let got: Vec<_> = fields(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(
            got,
            [
                (1, Wire::Varint(-2i64 as u64)),
                (2, Wire::Fixed64(0.5f64.to_bits())),
                (300, Wire::Bytes(b"ab")),
                (4, Wire::Fixed32((-1.5f32).to_bits())),
            ]
        );
    }

    #[test]
    fn broken_messages_are_errors() {
        for bytes in [
            &[0x08][..],                                                         // no value
            &[0x12, 0x05, 1],                                                    // longer than the message
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // 2^64 - 1 bytes
            &[0x0b],                                                             // wire type 3
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], // over 64 bits
            &[0x09, 1, 2],                                                       // a short double
        ] {
            let outcome: Result<Vec<_>, _> = fields(bytes).collect();
            assert!(outcome.is_err(), "{bytes:?}");
        }
    }
}
