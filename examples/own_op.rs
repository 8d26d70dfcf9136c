//! An op of one's own with its kernel and its gradient, used in a graph: y = x³, whose gradient 3x² is made of ops that are there.

use langevin::fields;
use langevin::gpu::{Capabilities, Gpu};
use langevin::graph::{
    Candidate, Draft, DraftOptions, Gradients, Graph, Io, Launch, Node, Op, Operand, Resources, Value,
};
use langevin::ops::elementwise::{mul, scale};

fn cube(graph: &mut Graph, x: Value) -> Value {
    let shape = graph.shape(x).clone();
    graph.push1(Cube, &[x], shape)
}

#[derive(Debug)]
struct Cube;

impl Op for Cube {
    fn name(&self) -> &'static str {
        "cube"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let count = io.output(0).elements();
        let launch = Launch::of_text("cube/forward.wgsl", include_str!("cube/forward.wgsl"));
        let launch = launch.read(Operand::Input(0)).write(Operand::Output(0));
        vec![Candidate::plain(vec![launch.params(fields! { count }).grid(count.div_ceil(256), 1, 1)])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> langevin::Result<Gradients> {
        node.by_first(|| {
            let square = mul(graph, node.inputs[0], node.inputs[0])?;
            let slope = scale(graph, square, 3.0)?;
            mul(graph, grad_y, slope)
        })
    }
}

fn main() -> langevin::Result<()> {
    let gpu = Gpu::open_default()?;
    let mut graph = Graph::new();
    let (x, seed) = (graph.input("x", [4]), graph.input("seed", [4]));
    let y = cube(&mut graph, x);
    let grad_x = graph.backward(&[(y, seed)], &[x])?[0].expect("y depends on x");
    let draft = Draft::new(&graph, &[y, grad_x], gpu.capabilities(), DraftOptions::default())?;
    let mut plan = draft.build(&gpu, Resources::new())?;
    plan.write(x, &[-1.0, 0.0, 2.0, 3.0])?;
    plan.write(seed, &[1.0; 4])?;
    plan.run()?;
    println!("y = {:?}, dy/dx = {:?}", plan.read(y)?, plan.read(grad_x)?);
    assert_eq!((plan.read(y)?, plan.read(grad_x)?), (vec![-1.0, 0.0, 8.0, 27.0], vec![3.0, 0.0, 12.0, 27.0]));
    Ok(())
}
