//! Resources as they are applied, and with everything filled in.

use anyhow::bail;
use skein_wire::v1::{ListPolicyRequest, Resource, ResourceKind};

use super::files::BASE;
use crate::admin::Admin;
use crate::show;

pub async fn get(mut admin: Admin, request: ListPolicyRequest, json: bool) -> anyhow::Result<()> {
    let (name, is_effective) = (request.name.clone(), request.effective);
    let answer = admin.list_policy(request).await?.into_inner();
    let found = answer.resources;
    if found.is_empty() && !name.is_empty() {
        bail!("there is no {name:?}; --built-in looks among built-in providers, too");
    }
    if json {
        return show::json(&found);
    }
    if is_effective {
        print_effective(&found);
        return Ok(());
    }
    // `apply` reads what the resources are based on from it.
    if found.iter().any(|resource| !resource.built_in) {
        println!("{BASE} {}", answer.version);
    }
    let texts = found
        .into_iter()
        .map(|resource| match resource.source.as_str() {
            "" => resource.text,
            source => format!("# source: {source}\n{}", resource.text),
        });
    print!("{}", texts.collect::<Vec<_>>().join("---\n"));
    Ok(())
}

fn print_effective(found: &[Resource]) {
    for (nth, resource) in found.iter().enumerate() {
        if nth > 0 {
            println!();
        }
        println!(
            "{}/{}",
            show::word::<ResourceKind>(resource.kind),
            resource.name
        );
        let mut table = show::table(&["KEY", "VALUE", "FROM"]);
        let keys = resource.effective.iter();
        for one in keys.filter(|one| !matches!(one.key.as_str(), "kind" | "name")) {
            table.add_row([one.key.as_str(), one.value.as_str(), one.from.as_str()]);
        }
        show::print(&table);
    }
}
