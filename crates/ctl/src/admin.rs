//! The client of the admin API, which says on standard error when an answer may be old.

use skein_wire::v1::admin_client::AdminClient;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tower::util::MapResponse;

use crate::connect::Channel;

type Notice = fn(Response<Body>) -> Response<Body>;
pub type Admin = AdminClient<MapResponse<Channel, Notice>>;

pub fn client(channel: &Channel) -> Admin {
    let notice: Notice = tell_if_stale;
    AdminClient::new(MapResponse::new(channel.clone(), notice))
}

/// A node that is cut off says so with what it knows.
fn tell_if_stale(response: Response<Body>) -> Response<Body> {
    let why = response.headers().get("skein-stale");
    if let Some(why) = why.and_then(|why| why.to_str().ok()) {
        eprintln!(
            "skeinctl: what follows may be old: {why}; ask another control node with --server"
        );
    }
    response
}
