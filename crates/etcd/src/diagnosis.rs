//! Kontiki's own service beside etcd's: how a member is doing.

use crate::auth::refused;
use crate::error::into_status;
use crate::pb::diagnosis as pb;
use crate::server::Etcd;
use kontiki_store::PeerDiagnosis;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, async_trait};

/// Tells how many days the certificate has that is shown to clients.
#[derive(Clone, Default)]
pub struct CertificateDays(pub Option<Arc<dyn Fn() -> Option<i64> + Send + Sync>>);

impl fmt::Debug for CertificateDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateDays")
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn peer(peer: PeerDiagnosis) -> pb::Peer {
    pb::Peer {
        id: peer.id,
        name: peer.name,
        round_trip_micros: peer.round_trip.map(micros),
        lag_entries: peer.lag_entries,
    }
}

#[async_trait]
impl pb::diagnosis_server::Diagnosis for Etcd {
    async fn diagnose(
        &self,
        request: Request<pb::DiagnoseRequest>,
    ) -> Result<Response<pb::DiagnoseResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let found = self.store.diagnose(request.into_inner().write_probe).await;
        let found = found.map_err(into_status)?;
        let (write_probe_micros, write_probe_error) = match found.write_probe {
            None => (None, String::new()),
            Some(Ok(took)) => (Some(micros(took)), String::new()),
            Some(Err(error)) => (None, error.to_string()),
        };
        let days = &self.options.certificate_days.0;
        Ok(Response::new(pb::DiagnoseResponse {
            fsync_p99_micros: found.fsync_p99.map(micros),
            log_bytes: found.log_bytes,
            disk_free_bytes: found.disk_free_bytes,
            write_probe_micros,
            write_probe_error,
            peers: found.peers.into_iter().map(peer).collect(),
            certificate_days_left: days.as_ref().and_then(|days| days()),
            feature_level: found.feature_level,
            remarks: found.remarks,
        }))
    }
}
