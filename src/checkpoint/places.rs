//! Where programs keep weights, and what they put in front of a parameter's name: one table for every format.

/// What the weights behind a name are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// As the optimizer left them; the number is the place in the table, lower is preferred.
    Raw(usize),
    /// A moving average of them.
    Average,
    /// A name that says nothing.
    Unknown,
}

/// Keys of dicts that hold weights, and parts in front of names (`DataParallel` adds `module.`, `torch.compile` `_orig_mod.`, Lightning
/// the field's name), in order of preference.
const RAW: &[&str] = &[
    "model",
    "state_dict",
    "model_state_dict",
    "net",
    "net_state_dict",
    "network",
    "score_model",
    "scorenet",
    "score_net",
    "score",
    "unet",
    "module",
    "_orig_mod",
    "_forward_module",
    "_fsdp_wrapped_module",
    "online_model",
    "online",
    "params",
    "param",
    "weights",
    "model_state",
    "denoiser",
    "denoise_fn",
    "diffusion_model",
    "diffusion",
    "backbone",
    "generator",
    "state",
    "checkpoint",
];

/// The same for a moving average.
const AVERAGE: &[&str] = &[
    "ema",
    "ema_model",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "state_dict_ema",
    "params_ema",
    "ema_params",
    "ema_weights",
    "net_ema",
    "ema_net",
    "g_ema",
    "shadow",
    "shadow_params",
    "averaged_model",
];

/// Words that mark an average in a name that is in neither list, such as `ema_0.9999`.
const AVERAGE_WORDS: &[&str] = &["ema", "shadow", "average", "averaged", "avg", "swa"];

/// What a name says of the weights behind it.
pub(super) fn role(name: &str) -> Role {
    let name = name.to_ascii_lowercase();
    if let Some(at) = RAW.iter().position(|known| *known == name) {
        return Role::Raw(at);
    }
    let words = || name.split(['_', '-', '.', ' ']);
    match AVERAGE.contains(&name.as_str()) || words().any(|word| AVERAGE_WORDS.contains(&word)) {
        true => Role::Average,
        false => Role::Unknown,
    }
}

/// What the parts of a prefix such as `module.ema_model.` say: an average where one part does; unknown where one part is.
pub(super) fn role_of_prefix(prefix: &str) -> Role {
    let roles = || prefix.split('.').filter(|part| !part.is_empty()).map(role);
    if roles().any(|role| role == Role::Average) {
        Role::Average
    } else if roles().any(|role| role == Role::Unknown) {
        Role::Unknown
    } else {
        Role::Raw(roles().count())
    }
}

/// The known parts that all names begin with, such as `module._orig_mod.`. A part that names an average stays.
pub(super) fn common_prefix<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut prefix = String::new();
    loop {
        let rest = names.clone().filter_map(|name| name.strip_prefix(prefix.as_str()));
        let part = |name: &'a str| name.split_once('.').map(|(part, _)| part);
        let mut parts = rest.map(part);
        let Some(Some(first)) = parts.next() else { return prefix };
        if !matches!(role(first), Role::Raw(_)) || parts.any(|part| part != Some(first)) {
            return prefix;
        }
        prefix = format!("{prefix}{first}.");
    }
}

/// The prefixes under which a parameter of this name stands among `names`: the known ones first, the shortest first.
pub(super) fn prefixes_of<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Vec<String> {
    let prefix = |name: &'a str| name.strip_suffix(wanted).filter(|p| p.is_empty() || p.ends_with('.'));
    let mut found: Vec<String> = names.filter_map(prefix).map(str::to_owned).collect();
    found.sort_by_key(|prefix| (role_of_prefix(prefix) == Role::Unknown, prefix.len()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_behind_them() {
        for name in ["ema", "EMA", "model_ema", "ema_0.9999", "params_ema", "shadow", "swa_state", "unet-ema"]
        {
            assert_eq!(role(name), Role::Average, "{name}");
        }
        for name in ["model", "module", "_orig_mod", "state_dict", "online_model"] {
            assert!(matches!(role(name), Role::Raw(_)), "{name}");
        }
        for name in ["optimizer", "schema", "args", "all_modules", ""] {
            assert_eq!(role(name), Role::Unknown, "{name}");
        }
        assert_eq!(role_of_prefix("module.ema_model."), Role::Average);
        assert_eq!(role_of_prefix("mine.net."), Role::Unknown);
        assert_eq!(role_of_prefix(""), Role::Raw(0));
    }

    #[test]
    fn prefixes_come_off_in_any_order() {
        let common = |names: &[&str]| common_prefix(names.iter().copied());
        assert_eq!(common(&["module._orig_mod.a.w", "module._orig_mod.b"]), "module._orig_mod.");
        assert_eq!(common(&["_orig_mod.module.model.a.w"]), "_orig_mod.module.model.");
        assert_eq!(common(&["module.a", "b"]), "");
        assert_eq!(common(&["ema.a", "ema.b"]), "");
        assert_eq!(common(&[]), "");
        let names = ["mine.a.w", "module.a.w", "a.w", "ba.w", "ema.a.w"];
        assert_eq!(prefixes_of(names.into_iter(), "a.w"), ["", "ema.", "module.", "mine."]);
    }
}
