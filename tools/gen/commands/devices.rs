//! `gen devices`

use clap::Args;
use langevin::gpu::AdapterReport;
use serde_json::{Value, json};

use crate::print;
use crate::session::Session;

/// List the GPUs, and say which one is taken and why.
///
/// The order is discrete, integrated, virtual, software. A card that several backends list stands once, with Vulkan before
/// Direct3D 12; where the first refuses to open or to compile, the next is taken. `--device` takes an index, a part of a name, `cpu`, a
/// backend (`vulkan`, `metal`, `dx12`), or a name with its backend; WGPU_ADAPTER_NAME and WGPU_BACKEND are honoured.
#[derive(Args)]
#[command(after_help = "Examples:
  gen devices
  gen devices --json
  gen devices --device cpu
  gen devices --device radeon:dx12")]
pub struct Devices {
    /// Print an array of objects.
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let survey = match session.survey() {
            Ok(survey) => survey,
            Err(error) => {
                if self.json && matches!(error.downcast_ref(), Some(langevin::Error::NoAdapter { .. })) {
                    print::json(&json!([]))?;
                }
                return Err(error);
            }
        };
        let all: Vec<(&AdapterReport, Option<&str>)> = survey
            .adapters
            .iter()
            .map(|a| (a, (a.index == survey.chosen).then_some(survey.reason.as_str())))
            .collect();
        if self.json {
            return Ok(print::json(&all.iter().map(|(a, why)| object(a, *why)).collect())?);
        }
        let mut first: Option<&AdapterReport> = None;
        for (adapter, why) in all {
            let same = first.filter(|first| first.card == adapter.card);
            if same.is_none() {
                first = Some(adapter);
            }
            print::line(text(adapter, same, why))?;
        }
        Ok(())
    }
}

fn object(a: &AdapterReport, why: Option<&str>) -> Value {
    json!({
        "index": a.index,
        "card": a.card,
        "name": a.name,
        "kind": a.kind.name(),
        "backend": a.backend,
        "compiler": a.compiler,
        "driver": a.driver,
        "memory": a.memory,
        "limits": {
            "max_buffer": a.max_buffer,
            "max_binding": a.max_binding,
            "workgroup_memory": a.workgroup_memory,
            "max_invocations": a.max_invocations,
            "storage_buffers": a.storage_buffers,
        },
        "f16": a.f16,
        "subgroups": a.subgroups.map(|(min, max)| json!([min, max])),
        "timestamps": a.timestamps,
        "cooperative_matrix": a.cooperative_matrix,
        "cooperative_edge": a.cooperative_edge,
        "chosen": why.is_some(),
        "why": why,
    })
}

/// `same` is the first adapter of the same card, where this one is another backend of it.
fn text(a: &AdapterReport, same: Option<&AdapterReport>, why: Option<&str>) -> String {
    let has = |yes: bool| if yes { "yes" } else { "no" };
    let subgroups = a.subgroups.map_or("no".into(), |(min, max)| format!("{min} to {max}"));
    let cooperative = match (a.cooperative_matrix, a.cooperative_edge) {
        (_, Some(edge)) => format!("{edge}×{edge}×{edge} of f16 into f32"),
        (true, None) => "yes, none of 16×16×16 or 8×8×8 of f16 into f32 that kernels use".into(),
        (false, None) => "no".into(),
    };
    let compiler = a.compiler.map_or(String::new(), |name| format!(", kernels compiled by {name}"));
    let mut lines = vec![
        match same {
            Some(first) => format!("{}  the same card as {}, by {}", a.index, first.index, a.backend),
            None => format!("{}  {}", a.index, a.name),
        },
        format!("   {}, {}, {}{compiler}", a.kind.name(), a.backend, a.driver),
        format!("   memory {}", a.memory.map_or("unknown".into(), print::bytes)),
        format!(
            "   buffers to {}, bindings to {}, workgroups of {} with {} of memory, {} storage buffers",
            print::bytes(a.max_buffer),
            print::bytes(a.max_binding),
            a.max_invocations,
            print::bytes(a.workgroup_memory.into()),
            a.storage_buffers
        ),
        format!(
            "   f16 {}, subgroups {subgroups}, timestamps {}, cooperative matrix {}",
            has(a.f16),
            has(a.timestamps),
            cooperative
        ),
    ];
    lines.extend(why.map(|why| format!("   taken: {why}")));
    lines.join("\n")
}
