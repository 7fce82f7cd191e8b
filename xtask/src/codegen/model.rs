//! What a schema says: APIs, their structs and fields, and the versions each exists in.

use super::names;

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Whether every version of `other` is in here.
    pub fn covers(self, other: Self) -> bool {
        self.min <= other.min && self.max >= other.max
    }

    /// The versions in both; none if there is none.
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self { min: self.min.max(other.min), max: self.max.min(other.max) };
        (both.min <= both.max).then_some(both)
    }

    /// A Rust condition on `version` that is true in these versions, given that it is in `context`;
    /// none if it is always true.
    pub fn condition(self, context: Self) -> Option<String> {
        let low = self.min > context.min;
        let high = self.max < context.max;
        match (low, high) {
            (false, false) => None,
            _ if self.min == self.max => Some(format!("version == {}", self.min)),
            (true, false) => Some(format!("version >= {}", self.min)),
            (false, true) => Some(format!("version <= {}", self.max)),
            (true, true) => Some(format!("({}..={}).contains(&version)", self.min, self.max)),
        }
    }

    /// In words, as seen from `context`; none if it says nothing new.
    pub fn describe(self, context: Self) -> Option<String> {
        match (self.min, self.max) {
            _ if self.covers(context) => None,
            (min, max) if min == max => Some(format!("version {min}")),
            (min, max) if max >= context.max => Some(format!("versions {min} and up")),
            (min, max) => Some(format!("versions {min} to {max}")),
        }
    }
}

/// One API: a request, a response, and the structs inside them.
#[derive(Debug)]
pub struct Api {
    pub key: i16,
    pub name: String,
    pub versions: Versions,
    /// First version with compact lengths and tagged fields.
    pub flexible: Option<i16>,
    /// All structs: request, response, then the nested ones in the order they appear.
    pub structs: Vec<Struct>,
}

impl Api {
    /// Name of the generated module and of the schema file.
    pub fn module(&self) -> String {
        names::snake(&self.name)
    }

    pub fn get(&self, name: &str) -> &Struct {
        self.structs.iter().find(|one| one.name == name).expect("the parser checked the names")
    }

    /// Whether the Rust struct borrows from the input.
    pub fn borrows(&self, one: &Struct) -> bool {
        one.fields.iter().any(|field| self.type_borrows(&field.ty))
    }

    pub fn type_borrows(&self, ty: &Type) -> bool {
        match ty {
            Type::Str | Type::Bytes | Type::Records => true,
            Type::Array(element) => self.type_borrows(element),
            Type::Struct(name) => self.borrows(self.get(name)),
            _ => false,
        }
    }

    /// Name of a struct with `lifetime` if it has one.
    pub fn rust_struct(&self, name: &str, lifetime: &str) -> String {
        if self.borrows(self.get(name)) { format!("{name}<{lifetime}>") } else { name.to_owned() }
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible.is_some_and(|first| version >= first)
    }

    /// Fewest bytes that a value of `ty` takes in `version`.
    pub fn smallest(&self, ty: &Type, version: i16) -> usize {
        let flexible = self.is_flexible(version);
        match ty {
            Type::Bool | Type::I8 => 1,
            Type::I16 | Type::U16 => 2,
            Type::I32 | Type::U32 => 4,
            Type::I64 | Type::F64 => 8,
            Type::Uuid => 16,
            Type::Str => {
                if flexible {
                    1
                } else {
                    2
                }
            }
            Type::Bytes | Type::Records | Type::Array(_) => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Type::Struct(name) => self.smallest_struct(self.get(name), version),
        }
    }

    /// Fewest bytes that the struct takes in `version`.
    pub fn smallest_struct(&self, one: &Struct, version: i16) -> usize {
        let fields = one
            .fields
            .iter()
            .filter(|field| field.tag.is_none() && field.versions.contains(version));
        let bytes: usize = fields
            .map(|field| match (&field.ty, field.nullable) {
                (Type::Struct(_), Some(_)) => 1,
                (ty, _) => self.smallest(ty, version),
            })
            .sum();
        bytes + usize::from(self.is_flexible(version))
    }
}

/// Where a struct is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
    Both,
}

#[derive(Debug)]
pub struct Struct {
    pub name: String,
    pub side: Side,
    /// Whether it is the request or the response itself.
    pub top: bool,
    /// Versions in which it can occur.
    pub versions: Versions,
    pub fields: Vec<Field>,
}

impl Struct {
    /// The tagged fields by rising tag.
    pub fn tagged(&self) -> Vec<&Field> {
        let mut tagged: Vec<&Field> =
            self.fields.iter().filter(|field| field.tag.is_some()).collect();
        tagged.sort_by_key(|field| field.tag);
        tagged
    }
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub versions: Versions,
    /// Versions in which it may be null.
    pub nullable: Option<Versions>,
    /// Number of a tagged field.
    pub tag: Option<u32>,
    /// Value where the version lacks the field; none for zero, empty, or a struct's own default.
    pub default: Option<String>,
}

impl Field {
    /// A Rust expression for "may be null", given that the field is there.
    pub fn nullable_condition(&self, context: Versions) -> Option<String> {
        let here = self.versions.and(context).expect("a field occurs in its struct");
        self.nullable.map(|versions| versions.condition(here).unwrap_or_else(|| "true".to_owned()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Bool,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F64,
    Uuid,
    Str,
    Bytes,
    Records,
    Array(Box<Type>),
    Struct(String),
}
