use std::collections::BTreeSet;

use super::*;

#[test]
fn hashes_stay_what_they_are_and_differ_by_every_part() {
    let scopes = [
        Scope::Global,
        Scope::Tenant("acme".into()),
        Scope::Tenant("acmen".into()),
        Scope::Stream {
            tenant: "acme".into(),
            stream: "news".into(),
        },
        Scope::Stream {
            tenant: "acmen".into(),
            stream: "ews".into(),
        },
    ];
    let subjects = [
        Subject::Address("a@b.example".into()),
        Subject::Domain("b.example".into()),
        Subject::Domain("a@b.example".into()),
    ];
    let mut hashes = Vec::new();
    for scope in &scopes {
        for subject in &subjects {
            let (scope, subject) = (scope.clone(), subject.clone());
            hashes.push(Key { scope, subject }.hash());
        }
    }
    assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), 15);
    // Of `0001 g 0000 0000 0001 a 000b a@b.example`.
    assert_eq!(hashes[0], 0x8130_4d36_0650_5af0);
}
