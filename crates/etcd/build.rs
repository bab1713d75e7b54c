//! Compiles the wire definitions of etcd's API.

fn main() -> std::io::Result<()> {
    let root = "../../proto";
    let files = ["kv", "rpc", "auth", "lease", "lock", "election", "health"]
        .map(|name| format!("{root}/etcd/{name}.proto"));
    tonic_prost_build::configure()
        .bytes(".")
        .compile_protos(&files, &[root.to_owned()])
}
