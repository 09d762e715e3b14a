//! What it costs to check a path and to find its route.

use std::hint::black_box;

use attache::route::{Pattern, PatternSegment, RouteTable, check_path};
use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;

fn check(c: &mut Criterion) {
    for (name, path) in [
        ("plain", "/crm/customers/4711/orders"),
        ("dots", "/api/v1.0/users/ana.smith/photo.jpg"),
        ("encoded", "/api/v4/projects/gitlab-org%2Fgitlab/repository/files/lib%2Fclass%2Erb"),
    ] {
        c.bench_function(&format!("check_path_{name}"), |b| b.iter(|| check_path(black_box(path))));
    }
}

/// As many APIs as a large company has, each with a few routes.
fn table() -> RouteTable {
    let segments = |texts: &[&str]| {
        let segment = |text: &&str| match *text {
            "{*rest}" => PatternSegment::Rest,
            "{id}" => PatternSegment::Parameter,
            literal => PatternSegment::Literal(literal.to_owned()),
        };
        texts.iter().map(segment).collect::<Vec<_>>()
    };
    let mut patterns = Vec::new();
    for api in 0..100 {
        let api = format!("api{api}");
        for path in
            [vec!["{*rest}"], vec!["customers", "{id}"], vec!["customers", "{id}", "orders"], vec!["admin", "{*rest}"]]
        {
            let path: Vec<&str> = std::iter::once(api.as_str()).chain(path).collect();
            patterns.push(Pattern { host: None, methods: vec![], segments: segments(&path) });
            patterns.push(Pattern { host: Some("gateway.test".into()), methods: vec![], segments: segments(&path) });
        }
    }
    RouteTable::new(&patterns)
}

fn matches(c: &mut Criterion) {
    let table = table();
    for (name, host, path) in [
        ("rest", "127.0.0.1", "/api42/v1/things/7"),
        ("parameter", "127.0.0.1", "/api42/customers/4711/orders"),
        ("host", "gateway.test", "/api42/v1/things/7"),
        ("backtracking", "127.0.0.1", "/api42/customers/4711/invoices"),
        ("none", "127.0.0.1", "/other"),
    ] {
        c.bench_function(&format!("match_{name}"), |b| {
            b.iter(|| table.matches(black_box(host), &Method::GET, black_box(path)));
        });
    }
}

criterion_group!(benches, check, matches);
criterion_main!(benches);
