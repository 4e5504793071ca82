//! The derives: rows to and from Rust types.

use std::collections::{BTreeMap, BTreeSet};

use ovsdb_model as renamed;
use ovsdb_model::{
    Atom, AtomType, AtomValue, ColumnKind, Database, Datum, Name, Operation, Row, Shape,
    StringEnum, Table, Uuid,
};

#[derive(Debug, Clone, PartialEq, StringEnum)]
enum Protocol {
    Tcp,
    Udp,
    #[ovsdb(word = "sctp")]
    StreamControl,
}

#[derive(Debug, Clone, PartialEq, StringEnum)]
#[ovsdb(crate = "renamed")]
enum Selection {
    EthSrc,
    #[ovsdb(word = "ip_src")]
    IpSrc,
    #[ovsdb(other)]
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq, Table)]
#[ovsdb(table = "Load_Balancer", crate = "renamed")]
struct Balancer {
    #[ovsdb(uuid)]
    id: Uuid,
    name: String,
    vips: BTreeMap<String, String>,
    protocol: Option<Protocol>,
    r#type: Vec<Selection>,
    #[ovsdb(column = "health_check")]
    checks: BTreeSet<Uuid>,
    tier: u16,
    enabled: bool,
}

fn balancer() -> Balancer {
    Balancer {
        id: Uuid::from_u128(7),
        name: "web".to_owned(),
        vips: BTreeMap::from([("10.0.0.1:80".to_owned(), "10.1.0.1:8080".to_owned())]),
        protocol: Some(Protocol::StreamControl),
        r#type: vec![
            Selection::EthSrc,
            Selection::IpSrc,
            Selection::Unknown("new".to_owned()),
        ],
        checks: BTreeSet::from([Uuid::from_u128(1)]),
        tier: 3,
        enabled: true,
    }
}

#[test]
fn a_row_and_back() {
    let value = balancer();
    let row = value.to_row();
    assert_eq!(row.get_str("protocol"), Some("sctp"));
    assert_eq!(row.map_str("vips", "10.0.0.1:80"), Some("10.1.0.1:8080"));
    assert_eq!(
        row.get("type"),
        Some(&Datum::set(["eth-src", "ip_src", "new"]))
    );
    assert_eq!(row.len(), 7);
    assert_eq!(row.get("id"), None);
    assert_eq!(Balancer::from_row(value.id, &row), Ok(value));
}

#[test]
fn constants_and_kinds() {
    assert_eq!(Balancer::NAME, "Load_Balancer");
    assert_eq!(
        (Balancer::COL_CHECKS, Balancer::COL_TYPE),
        ("health_check", "type")
    );
    let kinds: Vec<_> = Balancer::COLUMNS
        .iter()
        .map(|column| (column.name, column.kind.shape))
        .collect();
    assert_eq!(kinds[1], ("vips", Shape::Map));
    assert_eq!(kinds[2], ("protocol", Shape::Optional));
    assert_eq!(
        Balancer::COLUMNS[5].kind,
        ColumnKind {
            shape: Shape::Scalar,
            key: AtomType::Integer,
            value: None
        }
    );
}

#[test]
fn columns_that_the_server_lacks_read_as_empty() {
    let read = Balancer::from_row(Uuid::nil(), &Row::new().with("name", "x")).unwrap();
    assert_eq!(
        (read.name.as_str(), read.tier, read.enabled),
        ("x", 0, false)
    );
    assert!(read.vips.is_empty() && read.protocol.is_none() && read.checks.is_empty());
}

#[test]
fn what_does_not_fit_says_where() {
    let row = balancer().to_row().with("tier", 70_000);
    let error = Balancer::from_row(Uuid::nil(), &row).unwrap_err();
    assert_eq!(error.column, "tier");
    assert!(
        error
            .to_string()
            .contains("expected an integer from 0 to 65535, found 70000"),
        "{error}"
    );

    let row = balancer().to_row().with("protocol", "dccp");
    let error = Balancer::from_row(Uuid::nil(), &row).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected one of tcp, udp, sctp, found \"dccp\""),
        "{error}"
    );
    assert_eq!(Protocol::from_atom(&Atom::from("udp")), Ok(Protocol::Udp));
}

#[test]
fn typed_reads_from_the_replica() {
    let value = balancer();
    let mut database = Database::new();
    database.set_rows([(
        Name::new_static(Balancer::NAME),
        value.id,
        Some(value.to_row()),
    )]);
    assert_eq!(database.get::<Balancer>(value.id), Ok(Some(value.clone())));
    assert_eq!(
        database.all::<Balancer>().collect::<Vec<_>>(),
        [Ok(value.clone())]
    );
    let insert = serde_json::to_value(Operation::insert_value(value.id, &value)).unwrap();
    assert_eq!(
        insert["row"]["vips"],
        serde_json::json!(["map", [["10.0.0.1:80", "10.1.0.1:8080"]]])
    );
    assert_eq!(insert["uuid"], "00000000-0000-0000-0000-000000000007");
}
