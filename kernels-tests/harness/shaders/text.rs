//! What can be told of HLSL and MSL without their compilers: nothing is defined twice at one place, and no name is the language's own.

use std::collections::BTreeSet;

use super::translate::Language;

/// Words of HLSL that are no names: keywords, types, and words that its compilers treat as such. Intrinsic functions are below.
const HLSL_WORDS: &str = "AppendStructuredBuffer asm BlendState bool Buffer ByteAddressBuffer case cbuffer centroid class \
    column_major compile const ConsumeStructuredBuffer continue default discard do double DomainShader dword else export extern \
    false float for fxgroup GeometryShader groupshared half Hullshader if in inline inout InputPatch int interface line lineadj \
    linear LineStream matrix min10float min12int min16float min16int min16uint namespace nointerpolation noperspective out \
    OutputPatch packoffset pass pixelfragment PixelShader point PointStream precise RasterizerState register return row_major \
    RWBuffer RWByteAddressBuffer RWStructuredBuffer sample sampler SamplerState shared snorm static string struct \
    StructuredBuffer switch tbuffer technique template texture triangle triangleadj TriangleStream true typedef typename uint \
    uniform unorm unsigned using vector vertexfragment VertexShader void volatile while float2 float3 float4 int2 int3 int4 \
    uint2 uint3 uint4 bool2 bool3 bool4 half2 half3 half4 float16_t int16_t uint16_t int64_t uint64_t int32_t uint32_t";

/// Functions of HLSL that kernels could name by accident.
const HLSL_FUNCTIONS: &str = "abort abs acos all AllMemoryBarrier AllMemoryBarrierWithGroupSync any asdouble asfloat asin asint \
    asuint atan atan2 ceil clamp clip cos cosh countbits cross D3DCOLORtoUBYTE4 ddx ddy degrees determinant \
    DeviceMemoryBarrier distance dot dst exp exp2 f16tof32 f32tof16 faceforward firstbithigh firstbitlow floor fma fmod frac \
    frexp fwidth GroupMemoryBarrier GroupMemoryBarrierWithGroupSync InterlockedAdd InterlockedMax InterlockedMin isfinite \
    isinf isnan ldexp length lerp lit log log10 log2 mad max min modf mul noise normalize pow printf radians rcp reflect \
    refract reversebits round rsqrt saturate sign sin sincos sinh smoothstep sqrt step tan tanh transpose trunc \
    WaveActiveSum WaveGetLaneCount WaveGetLaneIndex WaveReadLaneAt";

/// Words of MSL that are no names: those of C++14, its own, and macros of its headers.
const MSL_WORDS: &str = "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const \
    const_cast constant constexpr continue decltype default delete device do double dynamic_cast else enum explicit export \
    extern false float for fragment friend goto half if inline int kernel long mutable namespace new noexcept not not_eq \
    nullptr operator or or_eq private protected public register reinterpret_cast return short signed sizeof static \
    static_assert static_cast struct switch template this thread thread_local threadgroup throw true try typedef typeid \
    typename uchar uint ulong union unsigned ushort using vertex virtual void volatile wchar_t while xor xor_eq atomic_int \
    atomic_uint bool2 bool3 bool4 float2 float3 float4 half2 half3 half4 int2 int3 int4 uint2 uint3 uint4 ptrdiff_t size_t \
    HUGE_VALF INFINITY MAXFLOAT NAN FLT_MAX FLT_MIN FLT_EPSILON FLT_DIG HALF_MAX HALF_MIN INT_MAX INT_MIN UINT_MAX M_E_F M_PI_F \
    M_LN2_F M_SQRT2_F assert";

/// What `text` defines twice or names wrongly, one line each.
pub fn faults(language: Language, text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let (words, functions) = match language.is_hlsl() {
        true => (HLSL_WORDS, HLSL_FUNCTIONS),
        // Functions of MSL are written with their namespace, `metal::`, so ours may have their names.
        false => (MSL_WORDS, ""),
    };
    let words: BTreeSet<&str> = words.split_whitespace().collect();
    let functions: BTreeSet<&str> = functions.split_whitespace().collect();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for definition in definitions(&tokens) {
        let (name, parameters) = match &definition {
            Definition::Function(name, parameters) => (*name, format!("({})", parameters.join(", "))),
            Definition::Block(name) => (*name, " (a block of constants)".to_owned()),
            Definition::Other(name) => (*name, String::new()),
        };
        if words.contains(name) || functions.contains(name) {
            faults.push(format!("{name} is a name of the language"));
        }
        if !seen.insert(format!("{name}{parameters}")) {
            faults.push(format!("{name}{parameters} is defined twice"));
        }
    }
    // A function of the language that is not called is a variable with its name.
    for (at, word) in tokens.iter().enumerate().filter(|(_, word)| functions.contains(*word)) {
        if tokens.get(at + 1) != Some(&"(") {
            faults.push(format!("{word} is a function of the language, and stands where it is not called"));
        }
    }
    faults
}

/// Something that stands outside every function.
enum Definition<'a> {
    /// Functions may share a name where the types of their parameters differ.
    Function(&'a str, Vec<String>),
    /// A `cbuffer`, whose name is apart from those of its members.
    Block(&'a str),
    /// A type, a buffer, a constant, a variable.
    Other(&'a str),
}

/// Words, numbers and single characters; comments and preprocessor lines are left out.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let mut rest = line.split("//").next().unwrap_or_default().trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match is_word(first) {
                true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                false => first.len_utf8(),
            };
            let (token, behind) = rest.split_at(length);
            tokens.push(token);
            rest = behind.trim_start();
        }
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// What the file defines at its top level, and the members of `cbuffer` blocks, which are as global.
fn definitions<'a>(tokens: &[&'a str]) -> Vec<Definition<'a>> {
    let mut found = Vec::new();
    let mut head: Vec<&str> = Vec::new();
    let (mut depth, mut open_block) = (0, false);
    for &token in tokens {
        match token {
            "{" if depth == 0 => {
                found.extend(define(&head));
                open_block = head.first() == Some(&"cbuffer");
                head.clear();
                depth = 1;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                // What follows an initializer still belongs to its statement, which has been read.
                head.clear();
            }
            ";" if depth == 0 || (depth == 1 && open_block) => {
                found.extend(define(&head));
                head.clear();
            }
            _ if depth == 0 || (depth == 1 && open_block) => head.push(token),
            _ => {}
        }
    }
    found
}

/// The definition that `head`, the tokens before a `{` or a `;`, begins.
fn define<'a>(head: &[&'a str]) -> Option<Definition<'a>> {
    // Attributes stand in brackets in front.
    let head = match head.first() {
        Some(&"[") => &head[head.iter().position(|t| *t == "]")? + 1..],
        _ => head,
    };
    let first = *head.first()?;
    if first == "using" {
        return None;
    }
    match first {
        "struct" => return Some(Definition::Other(head.get(1)?)),
        "cbuffer" => return Some(Definition::Block(head.get(1)?)),
        _ => {}
    }
    // A constant's value, a register and a length are no part of the name in front of them.
    let end = head.iter().position(|t| matches!(*t, "=" | "[" | "(")).unwrap_or(head.len());
    let colon =
        (0..end).find(|&i| head[i] == ":" && head.get(i + 1) != Some(&":") && (i == 0 || head[i - 1] != ":"));
    let end = colon.unwrap_or(end);
    let name = head[..end].iter().rev().find(|t| is_name(t))?;
    if head.get(end) != Some(&"(") {
        return Some(Definition::Other(name));
    }
    let close = head.iter().rposition(|t| *t == ")")?;
    let types = head[end + 1..close].split(|t| *t == ",").filter(|p| !p.is_empty()).map(type_of);
    Some(Definition::Function(name, types.collect()))
}

/// A parameter without its name, its length, and what is said of it behind.
fn type_of(parameter: &[&str]) -> String {
    let is_colon = |i: usize| {
        parameter[i] == ":" && parameter.get(i + 1) != Some(&":") && (i == 0 || parameter[i - 1] != ":")
    };
    let end = (0..parameter.len())
        .find(|&i| matches!(parameter[i], "=" | "[") || is_colon(i))
        .unwrap_or(parameter.len());
    let name = parameter[..end].iter().rposition(|t| is_name(t)).unwrap_or(end);
    parameter[..name].join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_stands_twice_is_found() {
        let twice = "float4 ZeroValuefloat4() {\n    return (float4)0;\n}\n\nfloat4 ZeroValuefloat4() {\n    return (float4)0;\n}\n";
        assert_eq!(faults(Language::Hlsl51, twice), ["ZeroValuefloat4() is defined twice"]);
        let overloads =
            "int naga_mod(int lhs, int rhs) { return 0; }\nuint naga_mod(uint lhs, uint rhs) { return 0u; }";
        assert_eq!(faults(Language::Hlsl51, overloads), [""; 0]);
        let renamed = "int f(int a) { return a; }\nint f(int b) { return b; }";
        assert_eq!(faults(Language::Msl30, renamed), ["f(int) is defined twice"]);
    }

    #[test]
    fn types_buffers_and_constants_count_too() {
        let text = "static const uint N = 4u;\nByteAddressBuffer x : register(t0);\ngroupshared float4 x[64];\n\
            cbuffer p : register(b0) { Params p; }\nstruct N { uint a; };";
        let expected = ["x is defined twice", "N is defined twice"];
        assert_eq!(faults(Language::Hlsl51, text), expected);
    }

    #[test]
    fn names_of_the_language_are_found() {
        assert_eq!(
            faults(Language::Hlsl51, "float dot(float a) { float step = a; return step(a); }"),
            [
                "dot is a name of the language",
                "step is a function of the language, and stands where it is not called"
            ]
        );
        assert_eq!(faults(Language::Msl24, "constant uint NAN = 1u;"), ["NAN is a name of the language"]);
    }
}
