//! Compiles `proto/raft/*.proto`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let files = [
        format!("{root}/raft/peer.proto"),
        format!("{root}/raft/state.proto"),
    ];
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    // Bytes fields share the received buffer instead of copying it.
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .compile_protos(&files, &[root.to_owned()])?;
    Ok(())
}
