//! The container runtime, over its CRI socket.
//!
//! **Invariant:** the connection is made when it is needed and made again when
//! it broke; a runtime that is away makes calls fail, and nothing else.

mod observed;

pub use observed::{ContainerPhase, ContainerRecord, PodObservation, SandboxRecord, observation};

use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{self as api};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

/// Calls that only read or that runtimes answer at once.
const CALL: Duration = Duration::from_secs(120);
/// Setting up or tearing down a sandbox, networking included.
const SANDBOX: Duration = Duration::from_secs(240);
/// Pulling an image; a pull of this length makes no progress.
const PULL: Duration = Duration::from_secs(3600);
/// The largest answer that is taken, in bytes: a full node's list, or the output of an `ExecSync`.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A failed call to the runtime.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.describe())]
pub struct CriError {
    /// What was asked.
    pub operation: &'static str,
    /// The gRPC answer.
    pub status: Box<Status>,
}

impl CriError {
    fn describe(&self) -> String {
        format!(
            "rpc error: code = {:?} desc = {}",
            self.status.code(),
            self.status.message()
        )
    }

    /// Whether what was asked about does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status.code() == Code::NotFound
    }

    /// Whether the runtime does not know the call.
    #[must_use]
    pub fn is_unimplemented(&self) -> bool {
        self.status.code() == Code::Unimplemented
    }
}

/// A result of a call to the runtime.
pub type CriResult<T> = Result<T, CriError>;

/// A client of the runtime; cheap to clone.
#[derive(Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $client:ident.$name:ident($request:ident) -> $response:ident, $timeout:expr;)*) => {
        impl Cri {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// What the runtime answers, or that it is away.
                pub async fn $name(&self, request: api::$request) -> CriResult<api::$response> {
                    let mut request = Request::new(request);
                    request.set_timeout($timeout);
                    let answer = self.$client.clone().$name(request).await;
                    answer.map(tonic::Response::into_inner).map_err(|status| CriError {
                        operation: stringify!($name),
                        status: Box::new(status),
                    })
                }
            )*
        }
    };
}

calls! {
    /// Who the runtime is.
    runtime.version(VersionRequest) -> VersionResponse, CALL;
    /// Whether the runtime and its network are ready.
    runtime.status(StatusRequest) -> StatusResponse, CALL;
    /// What the runtime is set to.
    runtime.runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse, CALL;
    /// Makes a sandbox and its network.
    runtime.run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse, SANDBOX;
    /// Stops everything in a sandbox and takes its network down.
    runtime.stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse, SANDBOX;
    /// Removes a sandbox and all its containers.
    runtime.remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse, SANDBOX;
    /// A sandbox in detail.
    runtime.pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse, CALL;
    /// The sandboxes.
    runtime.list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse, CALL;
    /// Makes a container.
    runtime.create_container(CreateContainerRequest) -> CreateContainerResponse, SANDBOX;
    /// Starts a container.
    runtime.start_container(StartContainerRequest) -> StartContainerResponse, SANDBOX;
    /// Removes a container.
    runtime.remove_container(RemoveContainerRequest) -> RemoveContainerResponse, CALL;
    /// The containers.
    runtime.list_containers(ListContainersRequest) -> ListContainersResponse, CALL;
    /// A container in detail.
    runtime.container_status(ContainerStatusRequest) -> ContainerStatusResponse, CALL;
    /// Changes the limits of a running container.
    runtime.update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse, CALL;
    /// Tells the runtime that a log file was moved away.
    runtime.reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse, CALL;
    /// Where a command in a container can be talked to.
    runtime.exec(ExecRequest) -> ExecResponse, CALL;
    /// Where a container can be talked to.
    runtime.attach(AttachRequest) -> AttachResponse, CALL;
    /// Where ports of a sandbox can be reached.
    runtime.port_forward(PortForwardRequest) -> PortForwardResponse, CALL;
    /// What containers use.
    runtime.list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse, CALL;
    /// The images.
    images.list_images(ListImagesRequest) -> ListImagesResponse, CALL;
    /// An image in detail.
    images.image_status(ImageStatusRequest) -> ImageStatusResponse, CALL;
    /// Fetches an image.
    images.pull_image(PullImageRequest) -> PullImageResponse, PULL;
    /// Removes an image.
    images.remove_image(RemoveImageRequest) -> RemoveImageResponse, CALL;
    /// What images use.
    images.image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse, CALL;
}

impl Cri {
    /// A client for a runtime's socket. Nothing is connected yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let path = socket.to_path_buf();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint =
            Endpoint::from_static("http://runtime").connect_timeout(Duration::from_secs(5));
        let channel = endpoint.connect_with_connector_lazy(connector);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
        }
    }

    /// Runs a command in a container and waits for it; `None` if it took too long.
    ///
    /// # Errors
    /// What the runtime answers, or that it is away.
    pub async fn exec_sync(
        &self,
        container_id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> CriResult<Option<api::ExecSyncResponse>> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let request = api::ExecSyncRequest {
            container_id: container_id.to_owned(),
            cmd: command,
            timeout: seconds,
        };
        let mut request = Request::new(request);
        // The runtime kills the command in time; this is for a runtime that hangs.
        request.set_timeout(timeout + Duration::from_secs(10));
        match self.runtime.clone().exec_sync(request).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::DeadlineExceeded => Ok(None),
            Err(status) => Err(CriError {
                operation: "exec_sync",
                status: Box::new(status),
            }),
        }
    }

    /// Stops a container: its stop signal, then after `grace` a kill.
    ///
    /// # Errors
    /// What the runtime answers, or that it is away. A container that is gone is no error.
    pub async fn stop_container(&self, container_id: &str, grace: Duration) -> CriResult<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let mut request = Request::new(api::StopContainerRequest {
            container_id: container_id.to_owned(),
            timeout,
        });
        request.set_timeout(grace.saturating_add(CALL));
        match self.runtime.clone().stop_container(request).await {
            Err(status) if status.code() != Code::NotFound => Err(CriError {
                operation: "stop_container",
                status: Box::new(status),
            }),
            _ => Ok(()),
        }
    }

    /// Events of containers, from runtimes that tell them.
    ///
    /// # Errors
    /// What the runtime answers; `Unimplemented` from those that do not.
    pub async fn container_events(
        &self,
    ) -> CriResult<tonic::Streaming<api::ContainerEventResponse>> {
        let answer = self
            .runtime
            .clone()
            .get_container_events(api::GetEventsRequest {})
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| CriError {
                operation: "get_container_events",
                status: Box::new(status),
            })
    }

    /// Sandboxes and containers whose labels match; everything without labels.
    ///
    /// # Errors
    /// What the runtime answers, or that it is away.
    pub async fn list(
        &self,
        labels: HashMap<String, String>,
    ) -> CriResult<(Vec<api::PodSandbox>, Vec<api::Container>)> {
        let sandboxes = api::ListPodSandboxRequest {
            filter: Some(api::PodSandboxFilter {
                label_selector: labels.clone(),
                ..Default::default()
            }),
        };
        let containers = api::ListContainersRequest {
            filter: Some(api::ContainerFilter {
                label_selector: labels,
                ..Default::default()
            }),
        };
        let (sandboxes, containers) = tokio::try_join!(
            self.list_pod_sandbox(sandboxes),
            self.list_containers(containers)
        )?;
        Ok((sandboxes.items, containers.containers))
    }
}
