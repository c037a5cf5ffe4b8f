//! Addresses that can be had, those that cannot, and those that change.

use super::*;

async fn is_closed(address: SocketAddr) {
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(MINUTE, closed).await.expect("nobody listens there any more");
}

#[tokio::test(flavor = "current_thread")]
async fn a_port_that_is_taken_is_told_and_tried_again() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (taken, free) = (other.local_addr().unwrap(), free().await);
    let mut rig = Rig::start(vec![taken, free], limits());
    let sentence = format!("cannot listen on {taken}: address already in use; retrying every 20ms");
    assert_eq!(rig.trouble().await, [sentence]);
    assert_eq!(status(&get(free, "/").await), "200", "one address does not wait for the other");
    drop(other);
    assert!(rig.trouble().await.is_empty());
    assert_eq!(status(&get(taken, "/").await), "200");
}

#[tokio::test(flavor = "current_thread")]
async fn an_address_that_is_not_the_machines_is_told() {
    let mut rig = Rig::start(vec!["192.0.2.77:8484".parse().unwrap()], limits());
    let troubles = rig.trouble().await;
    assert!(troubles[0].starts_with("cannot listen on 192.0.2.77:8484: cannot assign"), "{troubles:?}");
    rig.addresses.send(Vec::new()).unwrap();
    assert!(rig.trouble().await.is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn a_change_of_address_leaves_the_old_one_only_for_the_new_one() {
    let (mut rig, old) = Rig::on_loopback(limits()).await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap();
    rig.addresses.send(vec![taken]).unwrap();
    assert_eq!(rig.trouble().await.len(), 1);
    assert_eq!(status(&get(old, "/").await), "200", "it stays while the new one cannot be had");
    drop(other);
    assert!(rig.trouble().await.is_empty());
    assert_eq!(status(&get(taken, "/").await), "200");
    is_closed(old).await;

    // No `listen:` any more.
    rig.addresses.send(Vec::new()).unwrap();
    is_closed(taken).await;
}

/// The old address is in the way of the new one, and neither is lost.
#[tokio::test(flavor = "current_thread")]
async fn one_address_of_a_port_may_become_all_and_back() {
    let (rig, one) = Rig::on_loopback(limits()).await;
    let all = SocketAddr::from(([0, 0, 0, 0], one.port()));
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], one.port()));
    assert!(TcpStream::connect(elsewhere).await.is_err());
    rig.addresses.send(vec![all]).unwrap();
    assert_eq!(status(&get(elsewhere, "/").await), "200");
    rig.addresses.send(vec![one]).unwrap();
    is_closed(elsewhere).await;
    assert_eq!(status(&get(one, "/").await), "200");

    // Somebody else has the port on another address, so all of them cannot be had: the old one comes back.
    let other = TcpListener::bind(elsewhere).await.unwrap();
    let mut rig = rig;
    rig.addresses.send(vec![all]).unwrap();
    assert_eq!(rig.trouble().await.len(), 1);
    assert_eq!(status(&get(one, "/").await), "200");
    drop(other);
    assert!(rig.trouble().await.is_empty());
    assert_eq!(status(&get(elsewhere, "/").await), "200");
}
