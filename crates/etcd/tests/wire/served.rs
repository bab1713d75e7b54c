//! A served store for the tests: loopback, in memory.

use kontiki_etcd::Options;
use kontiki_mvcc::LocalStore;
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::transport::Channel;

pub struct Served {
    pub address: SocketAddr,
    pub store: Arc<LocalStore>,
    pub channel: Channel,
}

pub async fn serve() -> Served {
    serve_with(Options::default()).await
}

pub async fn serve_with(options: Options) -> Served {
    let store = LocalStore::in_memory();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = kontiki_etcd::router(store.clone(), options);
    tokio::spawn(async move { axum::serve(kontiki_etcd::MendedListener(listener), router).await });
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.expect("the server answers");
    Served {
        address,
        store,
        channel,
    }
}
