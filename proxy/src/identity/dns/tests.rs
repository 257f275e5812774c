#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;

use super::*;

/// A name server that knows these aliases, and ignores what `deaf` says.
pub(crate) async fn server(aliases: &[(&str, &str)]) -> Resolver {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let known: HashMap<String, String> = aliases
        .iter()
        .map(|(name, target)| ((*name).to_owned(), (*target).to_owned()))
        .collect();
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            let asked = name(&packet, HEADER_BYTES).unwrap().0;
            let reply = reply(&packet[..length], known.get(&asked).map(String::as_str));
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    Resolver {
        servers: vec![address],
        search: Vec::new(),
    }
}

/// What BIND answers: the question echoed, the owner as a pointer to it.
fn reply(question: &[u8], target: Option<&str>) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, if target.is_some() { 0x80 } else { 0x83 }]);
    bytes[7] = u8::from(target.is_some());
    if let Some(target) = target {
        let data = super::question(0, target).unwrap();
        let data = &data[HEADER_BYTES..data.len() - 4];
        bytes.extend([
            0xc0,
            0x0c,
            0,
            5,
            0,
            1,
            0,
            0,
            0,
            60,
            0,
            u8::try_from(data.len()).unwrap(),
        ]);
        bytes.extend(data);
    }
    bytes
}

#[tokio::test]
async fn a_chain_is_walked_in_order() {
    let resolver = server(&[
        ("db.internal", "C.Cluster-abc.eu-west-1.rds.amazonaws.com"),
        (
            "c.cluster-abc.eu-west-1.rds.amazonaws.com",
            "i.abc.eu-west-1.rds.amazonaws.com",
        ),
        (
            "i.abc.eu-west-1.rds.amazonaws.com",
            "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com",
        ),
    ])
    .await;
    assert_eq!(
        resolver.aliases_of("DB.internal.").await,
        [
            "c.cluster-abc.eu-west-1.rds.amazonaws.com",
            "i.abc.eu-west-1.rds.amazonaws.com",
            "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com"
        ]
    );
    assert!(resolver.aliases_of("other.internal").await.is_empty());
}

#[tokio::test]
async fn a_circle_ends() {
    let resolver = server(&[("a.test", "b.test"), ("b.test", "a.test")]).await;
    assert_eq!(resolver.aliases_of("a.test").await.len(), ALIASES_MAX);
}

#[tokio::test]
async fn search_domains_are_tried_after_the_name_itself() {
    let mut resolver = server(&[("db.corp.test", "x.abc.eu-west-1.rds.amazonaws.com")]).await;
    resolver.search = vec!["other.test".to_owned(), "corp.test.".to_owned()];
    assert_eq!(
        resolver.aliases_of("db").await,
        ["x.abc.eu-west-1.rds.amazonaws.com"]
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_passed_over() {
    let port = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut resolver = server(&[("a.test", "b.test")]).await;
    resolver.servers.insert(0, port);
    assert_eq!(resolver.aliases_of("a.test").await, ["b.test"]);
    let nobody = Resolver {
        servers: vec![port],
        search: Vec::new(),
    };
    assert!(nobody.aliases_of("a.test").await.is_empty());
}

#[tokio::test]
async fn names_that_cannot_be_asked_for_have_no_alias() {
    let resolver = server(&[]).await;
    for name in ["", ".", "a..b", &"x".repeat(64)] {
        assert!(resolver.aliases_of(name).await.is_empty(), "{name}");
    }
}

#[test]
fn resolv_conf_is_read_as_glibc_reads_it() {
    let text = "# comment\nnameserver 10.0.0.2\nnameserver fd00::2\nnameserver 1.1.1.1\nnameserver 8.8.8.8\n\
                nameserver nonsense\ndomain one.test\nsearch two.test three.test\noptions ndots:5\n";
    let resolver = Resolver::parse(text);
    let servers: Vec<String> = resolver.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.2:53", "[fd00::2]:53", "1.1.1.1:53"]);
    assert_eq!(resolver.search, ["two.test", "three.test"]);
    assert_eq!(Resolver::parse(""), Resolver::default());
}

#[test]
fn a_mangled_answer_is_none_at_every_cut_and_flip() {
    let question = question(7, "db.test").unwrap();
    let whole = reply(&question, Some("target.test"));
    assert_eq!(cname(&whole).as_deref(), Some("target.test"));
    for cut in 0..whole.len() {
        assert_eq!(cname(&whole[..cut]), None, "cut at {cut}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            let _ = cname(&flipped);
        }
    }
    // Labels, then a pointer back to them: it would never end.
    let mut packet = vec![0; HEADER_BYTES];
    packet.extend([1, b'a', 0xc0, 0x0c, 0, 0]);
    assert_eq!(name(&packet, HEADER_BYTES), None);
    // A pointer to itself, and one forwards.
    for target in [0x0c_u8, 0x20] {
        let mut packet = vec![0; HEADER_BYTES];
        packet.extend([0xc0, target, 0, 0]);
        assert_eq!(name(&packet, HEADER_BYTES), None);
    }
}
