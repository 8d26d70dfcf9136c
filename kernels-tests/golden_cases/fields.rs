//! Reads a JSON object key by key and remembers which keys were read, so that none is overlooked.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A JSON object whose every key must be read before [`Fields::finish`].
pub struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    /// The object `value`, called `path` in messages.
    pub fn new(path: impl Into<String>, value: &'a Value) -> Result<Self, String> {
        let path = path.into();
        let map = value.as_object().ok_or_else(|| format!("{path} is not an object"))?;
        Ok(Self { path, map, read: RefCell::default() })
    }

    /// The raw value of `key`, if there is one.
    pub fn optional(&self, key: &str) -> Option<&'a Value> {
        let value = self.map.get(key)?;
        self.read.borrow_mut().insert(key.to_string());
        Some(value)
    }

    /// The raw value of `key`.
    pub fn value(&self, key: &str) -> Result<&'a Value, String> {
        self.optional(key).ok_or_else(|| format!("{} has no key {key:?}", self.path))
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<&'a str, String> {
        self.typed(key, "a string", Value::as_str)
    }

    /// A boolean.
    pub fn bool(&self, key: &str) -> Result<bool, String> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    /// A number.
    pub fn f64(&self, key: &str) -> Result<f64, String> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A size or count.
    pub fn usize(&self, key: &str) -> Result<usize, String> {
        self.typed(key, "a count", usize_of)
    }

    /// A list of numbers.
    pub fn f64s(&self, key: &str) -> Result<Vec<f64>, String> {
        self.typed(key, "a list of numbers", |v| v.as_array()?.iter().map(Value::as_f64).collect())
    }

    /// A list of sizes.
    pub fn usizes(&self, key: &str) -> Result<Vec<usize>, String> {
        self.typed(key, "a list of counts", |v| v.as_array()?.iter().map(usize_of).collect())
    }

    /// A list of integers that may be negative.
    pub fn i64s(&self, key: &str) -> Result<Vec<i64>, String> {
        self.typed(key, "a list of integers", |v| v.as_array()?.iter().map(Value::as_i64).collect())
    }

    /// An object inside this one; it has a `finish` of its own.
    pub fn fields(&self, key: &str) -> Result<Fields<'a>, String> {
        Fields::new(format!("{}.{key}", self.path), self.value(key)?)
    }

    /// Fails if a key was never read: it would ask for something that was not done.
    pub fn finish(&self) -> Result<(), String> {
        let read = self.read.borrow();
        match self.map.keys().find(|key| !read.contains(*key)) {
            Some(key) => Err(format!("{}: unknown key {key:?}", self.path)),
            None => Ok(()),
        }
    }

    fn typed<T>(&self, key: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T, String> {
        let value = self.value(key)?;
        read(value).ok_or_else(|| format!("{}.{key} = {value} is not {kind}", self.path))
    }
}

fn usize_of(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|v| usize::try_from(v).ok())
}
