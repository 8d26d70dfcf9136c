//! `gen devices`

use clap::Args;
use langevin::gpu::{AdapterReport, survey};
use serde_json::{Value, json};

use crate::print;
use crate::session::Session;

/// List the GPUs, and say which one is taken and why.
///
/// The order is discrete, integrated, virtual, software. `--device` takes an index, a part of a name, or `cpu`;
/// WGPU_ADAPTER_NAME and WGPU_BACKEND are honoured.
#[derive(Args)]
#[command(after_help = "Examples:
  gen devices
  gen devices --json
  gen devices --device cpu")]
pub struct Devices {
    /// Print an array of objects.
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let survey = match survey(session.device()) {
            Ok(survey) => survey,
            Err(error) => {
                if self.json && matches!(error, langevin::Error::NoAdapter { .. }) {
                    print::json(&json!([]))?;
                }
                return Err(error.into());
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
        for (adapter, why) in all {
            print::line(text(adapter, why))?;
        }
        Ok(())
    }
}

fn object(a: &AdapterReport, why: Option<&str>) -> Value {
    json!({
        "index": a.index,
        "name": a.name,
        "kind": a.kind.name(),
        "backend": a.backend,
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

fn text(a: &AdapterReport, why: Option<&str>) -> String {
    let has = |yes: bool| if yes { "yes" } else { "no" };
    let subgroups = a.subgroups.map_or("no".into(), |(min, max)| format!("{min} to {max}"));
    let cooperative = match (a.cooperative_matrix, a.cooperative_edge) {
        (_, Some(edge)) => format!("{edge}×{edge}×{edge} of f16 into f32"),
        (true, None) => "yes, none of 16×16×16 or 8×8×8 of f16 into f32 that kernels use".into(),
        (false, None) => "no".into(),
    };
    let mut lines = vec![
        format!("{}  {}", a.index, a.name),
        format!("   {}, {}, {}", a.kind.name(), a.backend, a.driver),
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
