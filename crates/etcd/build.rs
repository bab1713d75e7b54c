//! Compiles the wire definitions of etcd's API.

fn main() -> std::io::Result<()> {
    let root = "../../proto";
    let files = [
        "kv",
        "rpc",
        "auth",
        "lease",
        "lock",
        "election",
        "health",
        "diagnosis",
    ]
    .map(|name| format!("{root}/etcd/{name}.proto"));
    let out = std::env::var_os("OUT_DIR").expect("cargo names it");
    tonic_prost_build::configure()
        .bytes(".")
        .file_descriptor_set_path(std::path::Path::new(&out).join("etcd.binpb"))
        .compile_protos(&files, &[root.to_owned()])
}
