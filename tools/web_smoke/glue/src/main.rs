//! web-glue MODULE.wasm FOLDER: writes FOLDER/web_smoke.js and FOLDER/web_smoke_bg.wasm, a module that a page imports.

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(module), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("web-glue MODULE.wasm FOLDER".into());
    };
    Bindgen::new().input_path(module).web(true)?.typescript(false).generate(folder)?;
    Ok(())
}
