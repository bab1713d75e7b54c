//! Compiles `proto/nodelink/nodelink.proto`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let file = format!("{root}/nodelink/nodelink.proto");
    println!("cargo:rerun-if-changed={file}");
    // Bytes fields share the received buffer instead of copying it.
    tonic_prost_build::configure()
        .bytes(".")
        // Channels are made by `channel::connect`; the generated constructor would
        // also clash with the method named Connect.
        .build_transport(false)
        .compile_protos(&[file.as_str()], &[root])?;
    Ok(())
}
