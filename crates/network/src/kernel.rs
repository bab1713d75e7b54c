//! Routes and the tunnel device, through rtnetlink.

use crate::plan::{Action, Facts, Route, Tunnel, VXLAN_DEVICE};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{Error, Handle, LinkUnspec, LinkVxlan, RouteMessageBuilder};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The protocol number that marks our routes, so that nobody else's are touched.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(107);
const VNI: u32 = 1;
const VXLAN_PORT: u16 = 4789;

/// What can go wrong with the kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The netlink socket could not be opened.
    #[error("cannot open a netlink socket")]
    Socket(#[source] std::io::Error),
    /// A request was refused.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was tried.
        what: String,
        /// What the kernel says.
        source: Error,
    },
    /// A device is missing.
    #[error("there is no network device {0}")]
    NoDevice(String),
}

fn refused(what: impl Into<String>) -> impl FnOnce(Error) -> KernelError {
    let what = what.into();
    |source| KernelError::Refused { what, source }
}

/// The kernel's network of this process' namespace.
pub struct Kernel {
    handle: Handle,
}

impl Kernel {
    /// Opens a netlink socket; needs a tokio runtime.
    ///
    /// # Errors
    /// If that is not allowed.
    pub fn open() -> Result<Self, KernelError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::Socket)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    async fn index(&self, name: &str) -> Result<u32, KernelError> {
        let request = self.handle.link().get().match_name(name.to_owned());
        let found = request.execute().try_next().await;
        match found {
            Ok(Some(link)) => Ok(link.header.index),
            // The kernel says ENODEV.
            Ok(None) | Err(_) => Err(KernelError::NoDevice(name.to_owned())),
        }
    }

    /// The networks that the node is attached to, without loopback and the
    /// bridge of its own pods.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn facts(&self, bridge: &str) -> Result<Facts, KernelError> {
        let own = [
            self.index("lo").await.ok(),
            self.index(bridge).await.ok(),
            self.index(VXLAN_DEVICE).await.ok(),
        ];
        let all: Vec<_> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(refused("list addresses"))?;
        let mut networks = Vec::new();
        for message in all {
            if own.contains(&Some(message.header.index)) {
                continue;
            }
            for attribute in &message.attributes {
                if let AddressAttribute::Address(IpAddr::V4(address)) = attribute
                    && let Ok(network) = Ipv4Net::new(*address, message.header.prefix_len)
                {
                    networks.push(network.trunc());
                }
            }
        }
        Ok(Facts { networks })
    }

    /// The routes that are ours.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn routes(&self) -> Result<BTreeSet<Route>, KernelError> {
        let tunnel = self.index(VXLAN_DEVICE).await.ok();
        let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let all: Vec<RouteMessage> = self
            .handle
            .route()
            .get(request)
            .execute()
            .try_collect()
            .await
            .map_err(refused("list routes"))?;
        let ours = all.iter().filter(|route| route.header.protocol == PROTOCOL);
        Ok(ours.filter_map(|route| parse(route, tunnel)).collect())
    }

    /// Makes the tunnel device, if it is not there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn ensure_tunnel(&self, own: Ipv4Addr) -> Result<(), KernelError> {
        let mut index = self.index(VXLAN_DEVICE).await;
        if index.is_err() {
            let device = LinkVxlan::new(VXLAN_DEVICE, VNI)
                .port(VXLAN_PORT)
                .local(own)
                .learning(false)
                .address(Tunnel::hardware_address(own).to_vec())
                .build();
            let made = self.handle.link().add(device).execute().await;
            made.map_err(refused("make the tunnel device"))?;
            index = self.index(VXLAN_DEVICE).await;
        }
        let up = LinkUnspec::new_with_index(index?).up().build();
        let set = self.handle.link().set(up).execute().await;
        set.map_err(refused("start the tunnel device"))
    }

    /// Carries out one action; what is already as wanted is no error.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn carry_out(&self, action: &Action) -> Result<(), KernelError> {
        match action {
            Action::AddRoute(route) => {
                let message = self.message(route).await?;
                let request = self.handle.route().add(message).replace();
                let what = format!("add a route to {}", route.destination);
                request.execute().await.map_err(refused(what))
            }
            Action::RemoveRoute(route) => {
                let message = self.message(route).await?;
                // It may have gone with its device.
                let _ = self.handle.route().del(message).execute().await;
                Ok(())
            }
            Action::AddTunnel(tunnel) => self.add_tunnel(tunnel).await,
            Action::RemoveTunnel(tunnel) => self.remove_tunnel(tunnel).await,
        }
    }

    async fn message(&self, route: &Route) -> Result<RouteMessage, KernelError> {
        let Route {
            destination,
            gateway,
            tunnel,
        } = route;
        let mut message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination.network(), destination.prefix_len())
            .gateway(*gateway)
            .protocol(PROTOCOL);
        if *tunnel {
            // The gateway lies inside the destination itself.
            message = message
                .output_interface(self.index(VXLAN_DEVICE).await?)
                .onlink();
        }
        Ok(message.build())
    }

    async fn add_tunnel(&self, tunnel: &Tunnel) -> Result<(), KernelError> {
        let device = self.index(VXLAN_DEVICE).await?;
        let hardware = Tunnel::hardware_address(tunnel.node);
        let what = format!("add the tunnel to {}", tunnel.node);
        let neighbour = self
            .handle
            .neighbours()
            .add(device, IpAddr::V4(tunnel.inner))
            .link_local_address(&hardware)
            .replace();
        neighbour.execute().await.map_err(refused(what.clone()))?;
        let forwarding = self
            .handle
            .neighbours()
            .add_bridge(device, &hardware)
            .flags(NeighbourFlags::Own)
            .destination(IpAddr::V4(tunnel.node))
            .replace();
        forwarding.execute().await.map_err(refused(what))
    }

    async fn remove_tunnel(&self, tunnel: &Tunnel) -> Result<(), KernelError> {
        let device = self.index(VXLAN_DEVICE).await?;
        let hardware = Tunnel::hardware_address(tunnel.node);
        let neighbours = self.handle.neighbours();
        let messages: [NeighbourMessage; 2] = [
            message_of(neighbours.add(device, IpAddr::V4(tunnel.inner))),
            message_of(
                neighbours
                    .add_bridge(device, &hardware)
                    .flags(NeighbourFlags::Own)
                    .destination(IpAddr::V4(tunnel.node)),
            ),
        ];
        for message in messages {
            // It may have gone with its device.
            let _ = self.handle.neighbours().del(message).execute().await;
        }
        Ok(())
    }

    /// Makes an address the node's own, for what it serves to its pods (DNS).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn ensure_local_address(&self, address: IpAddr) -> Result<(), KernelError> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let device = self.index("lo").await?;
        let request = self.handle.address().add(device, address, length).replace();
        let what = format!("add the address {address}");
        request.execute().await.map_err(refused(what))
    }

    /// Service addresses get a source address even where there is no default
    /// route: the lookup comes before the proxy's rules change the destination.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn ensure_service_route(
        &self,
        range: Ipv4Net,
        own: Ipv4Addr,
    ) -> Result<(), KernelError> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .output_interface(self.index("lo").await?)
            .pref_source(own)
            .scope(RouteScope::Link)
            .protocol(PROTOCOL)
            .build();
        let request = self.handle.route().add(message).replace();
        let what = format!("add a route to the Service range {range}");
        request.execute().await.map_err(refused(what))
    }
}

fn message_of(mut request: rtnetlink::NeighbourAddRequest) -> NeighbourMessage {
    request.message_mut().clone()
}

/// `None` for routes that are not to pods, such as the Service range's.
fn parse(route: &RouteMessage, tunnel: Option<u32>) -> Option<Route> {
    let (mut destination, mut gateway, mut device) = (None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(*address)
            }
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Oif(index) => device = Some(*index),
            _ => {}
        }
    }
    Some(Route {
        destination: Ipv4Net::new(destination?, route.header.destination_prefix_length).ok()?,
        gateway: gateway?,
        tunnel: device.is_some() && device == tunnel,
    })
}
