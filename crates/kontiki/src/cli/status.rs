//! `kontiki status`: how the store's members are, as each of them sees itself.

use super::endpoints::{PATIENCE, StoreArgs, StoreEndpoint};
use anyhow::{Result, bail};
use kontiki_etcd::pb::diagnosis::diagnosis_client::DiagnosisClient;
use kontiki_etcd::pb::diagnosis::{DiagnoseRequest, DiagnoseResponse};
use kontiki_etcd::pb::etcdserverpb::cluster_client::ClusterClient;
use kontiki_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_etcd::pb::etcdserverpb::{Member, MemberListRequest, StatusRequest, StatusResponse};
use serde::Serialize;
use std::fmt::Write;

/// Whom to ask, and how to show it.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    /// Do not carry a write that changes nothing through the log.
    #[arg(long)]
    no_write_probe: bool,
}

/// Certificates that have fewer days left are a reason to fail.
const CERTIFICATE_DAYS_MIN: i64 = 7;

/// What one endpoint answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    endpoint: String,
    id: String,
    name: String,
    role: &'static str,
    term: u64,
    index: u64,
    applied: u64,
    /// Entries that the leader has committed and this member has yet to apply.
    lag: u64,
    revision: i64,
    db_size_bytes: i64,
    disk_free_bytes: Option<u64>,
    fsync_p99_ms: Option<f64>,
    peers: Vec<Peer>,
    write_probe_ms: Option<f64>,
    certificate_days_left: Option<i64>,
    remarks: Vec<String>,
    errors: Vec<String>,
}

/// Another member, as this one sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    name: String,
    /// `None`: it does not answer.
    round_trip_ms: Option<f64>,
}

impl Args {
    /// Asks everybody and shows it; fails if anything is wrong with any of them.
    pub fn run(self) -> Result<()> {
        let endpoints = self.store.endpoints()?;
        let probe = !self.no_write_probe;
        let asked = endpoints.into_iter().map(|endpoint| row(endpoint, probe));
        let mut rows = super::block_on(async { Ok(futures::future::join_all(asked).await) })?;
        note_lag(&mut rows);
        let shown = if self.json {
            format!("{}\n", serde_json::to_string_pretty(&rows)?)
        } else {
            table(&rows)
        };
        super::print(&shown)?;
        verdict(&rows)
    }
}

/// What a member has yet to apply of what any of them knows to be committed.
fn note_lag(rows: &mut [Row]) {
    let index = rows.iter().map(|row| row.index).max().unwrap_or(0);
    for row in rows.iter_mut().filter(|row| row.role != UNREACHABLE) {
        row.lag = index.saturating_sub(row.applied);
    }
}

async fn row(endpoint: StoreEndpoint, probe: bool) -> Row {
    let answered = match tokio::time::timeout(PATIENCE * 2, ask(&endpoint, probe)).await {
        Ok(answered) => answered,
        Err(_) => Err(anyhow::anyhow!(
            "no answer within {} s",
            2 * PATIENCE.as_secs()
        )),
    };
    let endpoint = endpoint.url;
    match answered {
        Ok(answered) => to_row(endpoint, answered),
        Err(error) => Row {
            endpoint,
            role: UNREACHABLE,
            errors: vec![format!("{error:#}")],
            ..Row::default()
        },
    }
}

/// What a member answered.
#[derive(Default)]
struct Answered {
    status: StatusResponse,
    members: Vec<Member>,
    /// `None`: it is an etcd, or does not tell us.
    diagnosis: Option<DiagnoseResponse>,
}

async fn ask(endpoint: &StoreEndpoint, write_probe: bool) -> Result<Answered> {
    let channel = endpoint.connect().await?;
    let status = MaintenanceClient::new(channel.clone())
        .status(StatusRequest {})
        .await
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?
        .into_inner();
    // Not linearizable: a member that has lost the others still answers.
    let members = ClusterClient::new(channel.clone())
        .member_list(MemberListRequest {
            linearizable: false,
        })
        .await;
    let mut diagnosing = DiagnosisClient::new(channel);
    let diagnosis = diagnosing.diagnose(DiagnoseRequest { write_probe });
    // Without a leader the probe waits; all else is worth showing.
    let diagnosis = tokio::time::timeout(PATIENCE, diagnosis).await;
    Ok(Answered {
        status,
        members: members.map_or_else(|_| Vec::new(), |members| members.into_inner().members),
        diagnosis: diagnosis
            .ok()
            .and_then(|answer| Some(answer.ok()?.into_inner())),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a few digits of a time are shown"
)]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

fn to_row(endpoint: String, answered: Answered) -> Row {
    let Answered {
        status,
        members,
        diagnosis,
    } = answered;
    let header = status.header.unwrap_or_default();
    let name = members
        .iter()
        .find(|member| member.id == header.member_id)
        .map(|member| member.name.clone());
    let role = match status.leader {
        leader if leader != 0 && leader == header.member_id => LEADER,
        _ if status.is_learner => "learner",
        0 => "no leader",
        _ => "follower",
    };
    let mut row = Row {
        endpoint,
        id: format!("{:x}", header.member_id),
        name: name.unwrap_or_default(),
        role,
        term: status.raft_term,
        index: status.raft_index,
        applied: status.raft_applied_index,
        revision: header.revision,
        db_size_bytes: status.db_size,
        errors: status.errors,
        ..Row::default()
    };
    if let Some(found) = diagnosis {
        row.disk_free_bytes = found.disk_free_bytes;
        row.fsync_p99_ms = found.fsync_p99_micros.map(milliseconds);
        row.write_probe_ms = found.write_probe_micros.map(milliseconds);
        row.certificate_days_left = found.certificate_days_left;
        row.remarks = found.remarks;
        row.peers = found.peers.into_iter().map(peer).collect();
        if !found.write_probe_error.is_empty() {
            row.errors
                .push(format!("write probe: {}", found.write_probe_error));
        }
    }
    row
}

fn peer(peer: kontiki_etcd::pb::diagnosis::Peer) -> Peer {
    Peer {
        name: if peer.name.is_empty() {
            format!("{:x}", peer.id)
        } else {
            peer.name
        },
        round_trip_ms: peer.round_trip_micros.map(milliseconds),
    }
}

const UNREACHABLE: &str = "unreachable";
const LEADER: &str = "leader";

const COLUMNS: usize = 16;
const HEADINGS: [&str; COLUMNS] = [
    "ENDPOINT",
    "ID",
    "NAME",
    "ROLE",
    "TERM",
    "INDEX",
    "LAG",
    "REVISION",
    "DB SIZE",
    "DISK FREE",
    "FSYNC P99",
    "WRITE",
    "CERTIFICATE",
    "PEERS",
    "REMARKS",
    "ERRORS",
];

fn cells(row: &Row) -> [String; COLUMNS] {
    let unknown = || "-".to_owned();
    let time = |ms: Option<f64>| ms.map_or_else(unknown, |ms| format!("{ms:.1} ms"));
    let peers = row.peers.iter().map(|peer| match peer.round_trip_ms {
        Some(ms) => format!("{} {ms:.1} ms", peer.name),
        None => format!("{} SILENT", peer.name),
    });
    let free = row
        .disk_free_bytes
        .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let days = row.certificate_days_left;
    [
        row.endpoint.clone(),
        row.id.clone(),
        row.name.clone(),
        row.role.to_owned(),
        row.term.to_string(),
        row.index.to_string(),
        row.lag.to_string(),
        row.revision.to_string(),
        size(row.db_size_bytes),
        free.map_or_else(unknown, size),
        time(row.fsync_p99_ms),
        time(row.write_probe_ms),
        days.map_or_else(unknown, |days| format!("{days} days")),
        peers.collect::<Vec<_>>().join(", "),
        row.remarks.join("; "),
        row.errors.join("; "),
    ]
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    out
}

#[expect(
    clippy::cast_precision_loss,
    reason = "one digit after the point is shown"
)]
fn size(bytes: i64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn verdict(rows: &[Row]) -> Result<()> {
    let silent: Vec<&str> = rows
        .iter()
        .filter(|row| row.role == UNREACHABLE)
        .map(|row| row.endpoint.as_str())
        .collect();
    if !silent.is_empty() {
        bail!("no answer from {}", silent.join(", "));
    }
    if !rows.iter().any(|row| row.role == LEADER) {
        bail!("none of them leads; name every member, or see whether more than half of them run");
    }
    for row in rows {
        if let Some(error) = row.errors.first() {
            bail!("{}: {error}", row.endpoint);
        }
        if let Some(peer) = row.peers.iter().find(|peer| peer.round_trip_ms.is_none()) {
            bail!("{} does not reach {}", row.endpoint, peer.name);
        }
        if let Some(days) = row
            .certificate_days_left
            .filter(|days| *days < CERTIFICATE_DAYS_MIN)
        {
            bail!("the certificate of {} ends in {days} days", row.endpoint);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_etcd::pb::diagnosis as pb;
    use kontiki_etcd::pb::etcdserverpb::ResponseHeader;

    fn answered(member: u64, leader: u64) -> Answered {
        Answered {
            status: StatusResponse {
                header: Some(ResponseHeader {
                    member_id: member,
                    revision: 42,
                    ..ResponseHeader::default()
                }),
                leader,
                raft_term: 3,
                raft_index: 90,
                raft_applied_index: 80 + member,
                db_size: 2_500_000,
                ..StatusResponse::default()
            },
            ..Answered::default()
        }
    }

    fn row(member: u64, leader: u64) -> Row {
        to_row("e".into(), answered(member, leader))
    }

    #[test]
    fn a_member_is_what_it_says_of_itself() {
        let mut named = answered(0xa1, 0xa1);
        named.members = vec![Member {
            id: 0xa1,
            name: "s1".into(),
            ..Member::default()
        }];
        let leader = to_row("e".into(), named);
        assert_eq!(
            (leader.role, leader.name.as_str(), leader.id.as_str()),
            ("leader", "s1", "a1")
        );
        assert_eq!(row(2, 0xa1).role, "follower");
        assert_eq!(row(2, 0).role, "no leader");
        let mut learner = answered(2, 1);
        learner.status.is_learner = true;
        assert_eq!(to_row("e".into(), learner).role, "learner");
        let mut rows = [row(1, 1), row(4, 1)];
        note_lag(&mut rows);
        assert_eq!((rows[0].lag, rows[1].lag), (9, 6));
    }

    #[test]
    fn the_verdict_needs_a_leader_and_everybodys_health() {
        let (leader, follower) = (row(1, 1), row(2, 1));
        assert!(verdict(&[leader.clone(), follower.clone()]).is_ok());
        assert!(verdict(std::slice::from_ref(&follower)).is_err());
        let wrong = |change: fn(&mut Row)| {
            let mut row = follower.clone();
            change(&mut row);
            verdict(&[leader.clone(), row])
                .expect_err("wrong")
                .to_string()
        };
        assert!(wrong(|row| row.role = UNREACHABLE).contains("no answer"));
        assert!(wrong(|row| row.errors.push("full".into())).contains("full"));
        assert!(wrong(|row| row.certificate_days_left = Some(6)).contains("6 days"));
        let silent = wrong(|row| {
            row.peers.push(Peer {
                name: "s3".into(),
                round_trip_ms: None,
            });
        });
        assert!(silent.contains("s3"), "{silent}");
    }

    #[test]
    fn the_columns_of_the_table_stand_below_their_headings() {
        let mut told = answered(1, 1);
        told.diagnosis = Some(DiagnoseResponse {
            fsync_p99_micros: Some(1_250),
            disk_free_bytes: Some(7_000_000_000),
            peers: vec![pb::Peer {
                name: "s2".into(),
                ..pb::Peer::default()
            }],
            ..DiagnoseResponse::default()
        });
        let table = table(&[to_row("https://10.0.0.1:2379".into(), told)]);
        let lines: Vec<&str> = table.lines().collect();
        for (heading, cell) in [
            ("ROLE", "leader"),
            ("DB SIZE", "2.5 MB"),
            ("DISK FREE", "7.0 GB"),
            ("FSYNC P99", "1.2 ms"),
            ("PEERS", "s2 SILENT"),
        ] {
            assert_eq!(lines[0].find(heading), lines[1].find(cell), "{table}");
        }
    }
}
