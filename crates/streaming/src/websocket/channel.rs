//! Channels: the first byte (or digit) of a message says where the rest belongs.

use super::BridgeError;
use axum::extract::ws::Message;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// What the API server offers for `exec` and `attach`, best first.
pub const EXEC_PROTOCOLS: [&str; 5] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];

/// What the API server offers for `port-forward` over channels.
pub const PORT_FORWARD_PROTOCOLS: [&str; 2] = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// `port-forward` as SPDY/3.1 packed into binary messages.
pub const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// A subprotocol of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelProtocol {
    /// 1, 4 or 5.
    pub version: u8,
    /// Whether messages are text: a digit, then base64.
    pub base64: bool,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    Data(u8, Bytes),
    /// The user closed one channel.
    Close(u8),
    /// The user closed the connection.
    End,
    /// Nothing for a channel.
    Nothing,
}

impl ChannelProtocol {
    /// By the name that was agreed on; without one, the oldest.
    #[must_use]
    pub fn named(name: Option<&str>) -> Option<Self> {
        Some(match name {
            Some("v5.channel.k8s.io") => Self {
                version: 5,
                base64: false,
            },
            Some("v4.channel.k8s.io") => Self {
                version: 4,
                base64: false,
            },
            Some("v4.base64.channel.k8s.io") => Self {
                version: 4,
                base64: true,
            },
            None | Some("" | "channel.k8s.io") => Self {
                version: 1,
                base64: false,
            },
            Some("base64.channel.k8s.io") => Self {
                version: 1,
                base64: true,
            },
            Some(_) => return None,
        })
    }

    pub(super) fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::with_capacity(data.len() * 4 / 3 + 5);
            text.push(char::from(b'0' + channel % 10));
            STANDARD.encode_string(data, &mut text);
            return Message::Text(text.into());
        }
        let mut bytes = Vec::with_capacity(data.len() + 1);
        bytes.push(channel);
        bytes.extend_from_slice(data);
        Message::Binary(bytes.into())
    }

    pub(super) fn decode(self, message: Message) -> Result<Inbound, BridgeError> {
        let bytes: Bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return Ok(Inbound::End),
            Message::Ping(_) | Message::Pong(_) => return Ok(Inbound::Nothing),
        };
        let Some(first) = bytes.first().copied() else {
            return Ok(Inbound::Nothing);
        };
        let rest = bytes.slice(1..);
        if self.base64 {
            if !first.is_ascii_digit() {
                return Err(BridgeError::Protocol(
                    "a message whose first character is no channel",
                ));
            }
            let data = STANDARD.decode(&rest);
            let data = data.map_err(|_| BridgeError::Protocol("a message that is not base64"))?;
            return Ok(Inbound::Data(first - b'0', data.into()));
        }
        if self.version >= 5 && first == CLOSE {
            let channel = rest
                .first()
                .ok_or(BridgeError::Protocol("a close signal without its channel"))?;
            return Ok(Inbound::Close(*channel));
        }
        Ok(Inbound::Data(first, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V5: ChannelProtocol = ChannelProtocol {
        version: 5,
        base64: false,
    };
    const V4: ChannelProtocol = ChannelProtocol {
        version: 4,
        base64: false,
    };
    const TEXT: ChannelProtocol = ChannelProtocol {
        version: 4,
        base64: true,
    };

    #[test]
    fn messages_name_their_channel() {
        let binary = |bytes: &'static [u8]| Message::Binary(Bytes::from_static(bytes));
        let data =
            |channel, bytes: &'static [u8]| Inbound::Data(channel, Bytes::from_static(bytes));
        for (protocol, message, expected) in [
            (V5, binary(b"\x00hi"), data(0, b"hi")),
            (V5, binary(b"\xff\x00"), Inbound::Close(0)),
            (V4, binary(b"\xff\x00"), data(255, b"\x00")),
            (V4, binary(b""), Inbound::Nothing),
            (V4, Message::Text("\u{4}{}".into()), data(4, b"{}")),
            (TEXT, Message::Text("0aGk=".into()), data(0, b"hi")),
            (V4, Message::Close(None), Inbound::End),
            (V4, Message::Ping(Bytes::new()), Inbound::Nothing),
        ] {
            let shown = format!("{protocol:?} {message:?}");
            assert_eq!(
                protocol.decode(message).expect("valid"),
                expected,
                "{shown}"
            );
        }
        assert!(V5.decode(binary(b"\xff")).is_err());
        assert!(TEXT.decode(Message::Text("xaGk=".into())).is_err());
        assert!(TEXT.decode(Message::Text("0?".into())).is_err());
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for name in EXEC_PROTOCOLS {
            let protocol = ChannelProtocol::named(Some(name)).expect("offered, so known");
            let message = protocol.encode(2, b"some\xffbytes");
            let expected = Inbound::Data(2, Bytes::from_static(b"some\xffbytes"));
            assert_eq!(protocol.decode(message).expect("valid"), expected, "{name}");
        }
        assert_eq!(ChannelProtocol::named(Some("v9.channel.k8s.io")), None);
    }
}
