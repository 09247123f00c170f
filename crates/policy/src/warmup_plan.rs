//! Warm-ups as the meta group keeps them: a plan for each provider.

use skein_model::warmup::{
    self as kept, Bounds, Calendar, Plan, Shares, VOLUME_MAX, Weekday, Weekdays,
};

use crate::policy::Policy;
use crate::provider::DEFAULT;
use crate::schedule::{Curve, Schedule};
use crate::warmup::{Target, Warmup};

impl Policy {
    /// The warm-up of an IP, by its name.
    pub fn warmup_of(&self, ip: &str) -> Option<&Warmup> {
        let is_of = |warmup: &&Warmup| match &warmup.target {
            Target::Ips(ips) => ips.iter().any(|named| named.value == ip),
            Target::Pool(pool) => self.pool(&pool.value).is_some_and(|pool| {
                let mut members = pool.members.iter();
                members.any(|member| member.ip.value == ip)
            }),
        };
        self.warmups().map(AsRef::as_ref).find(is_of)
    }
}

impl Warmup {
    /// Providers that have a budget of their own, with their percents. Without any given, those that most mail of
    /// consumers goes to, with their parts of it.
    fn parts(&self) -> Vec<(String, u8)> {
        if self.shares.is_empty() {
            return Shares::default().of.into_iter().collect();
        }
        let shares = self.shares.iter();
        shares
            .map(|share| (share.provider.clone(), share.percent))
            .collect()
    }

    /// All that have a budget; `default` is that of all others together.
    pub fn providers(&self) -> Vec<String> {
        let named = self.parts().into_iter().map(|(name, _)| name);
        named.chain([DEFAULT.to_owned()]).collect()
    }

    /// Whose budget mail to a site takes.
    pub fn provider_of<'a>(&self, site: &'a str) -> &'a str {
        match self.parts().iter().any(|(name, _)| name == site) {
            true => site,
            false => DEFAULT,
        }
    }

    /// The plan for one of [`Self::providers`].
    pub fn plan(&self, provider: &str) -> Plan {
        let parts = self.parts();
        let named: u8 = parts.iter().map(|(_, percent)| *percent).sum();
        let given = parts.iter().find(|(name, _)| name == provider);
        let percent = given.map_or(100 - named.min(100), |(_, percent)| *percent);
        let days = Weekday::ALL.into_iter().zip(self.days);
        let days: Weekdays = days
            .filter(|(_, is_sending)| *is_sending)
            .map(|(day, _)| day)
            .collect();
        let percents = |percent: u8| percent.clamp(1, 100);
        let usual = Bounds::default();
        Plan {
            schedule: schedule(&self.schedule),
            // What has nothing left has the floor.
            share_percent: percents(percent),
            calendar: Calendar {
                days,
                offset_minutes: i16::try_from(self.utc_offset_minutes).unwrap_or(0),
            },
            bounds: Bounds {
                delivered_percent: percents(self.delivered_min_percent),
                deferred_percent: percents(self.deferral_max_percent),
                idle_days: u16::try_from(self.rewarm_after_days)
                    .unwrap_or(365)
                    .min(365),
                ..usual
            },
            floor: Some(self.floor),
        }
    }
}

fn schedule(given: &Schedule) -> kept::Schedule {
    match given {
        Schedule::BuiltIn(Curve::Standard) => kept::Schedule::Standard,
        // What the meta group does not know by name, it has as a table.
        Schedule::BuiltIn(_) | Schedule::Formula(_) | Schedule::Table(_) => {
            let stages = given.stages().into_iter();
            kept::Schedule::Table(stages.map(|volume| volume.clamp(1, VOLUME_MAX)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::draft::Source;

    fn policy(warmup: &str) -> Policy {
        let text = format!(
            "kind: ip\nname: a\nbind: 192.0.2.1\nehlo: a.example.test\n---\nkind: ip\nname: b\nbind: 192.0.2.2\nehlo: \
             b.example.test\n---\nkind: pool\nname: p\nmembers: [{{ip: a}}]\n---\nkind: warmup\nname: w\n{warmup}"
        );
        Policy::parse(&[Source {
            name: "t",
            text: &text,
        }])
        .unwrap()
    }

    #[test]
    fn each_provider_has_its_part_and_the_others_what_is_left() {
        let policy = policy(
            "pool: p\nproviders: {google: 50, yahoo: 30}\nschedule: {table: [100, 200]}\nfloor: 5\nutc_offset: \
             +01:00\ndays: [mon]\n",
        );
        let warmup = policy.warmup_of("a").unwrap();
        assert!(policy.warmup_of("b").is_none());
        assert_eq!(warmup.providers(), ["google", "yahoo", "default"]);
        for (site, provider, volumes) in [
            ("google", "google", [50, 100]),
            ("yahoo", "yahoo", [30, 60]),
            ("mx.else.example", "default", [20, 40]),
        ] {
            assert_eq!(warmup.provider_of(site), provider);
            let plan = warmup.plan(provider);
            assert_eq!(plan.check(), Ok(()));
            assert_eq!([plan.volume(0), plan.volume(1)], volumes, "{provider}");
            assert_eq!(plan.calendar.offset_minutes, 60);
        }
    }

    #[test]
    fn every_warm_up_that_is_let_in_is_one_that_the_meta_group_keeps() {
        for (keys, first, last) in [
            ("schedule: standard\n", 134, 6_700_000),
            ("schedule: gentle\n", 33, 33_500),
            (
                "schedule: {table: [1, 10]}\nproviders: {google: 100}\nfloor: 0\n",
                1,
                10,
            ),
            (
                "schedule: {formula: {first: 10, factor_percent: 200, max: 1000}}\nfloor: 7\n",
                7,
                670,
            ),
        ] {
            let policy = policy(&format!("ips: [a, b]\n{keys}"));
            let warmup = policy.warmup_of("b").unwrap();
            for provider in warmup.providers() {
                let plan = warmup.plan(&provider);
                assert_eq!(plan.check(), Ok(()), "{keys} {provider}");
            }
            let plan = warmup.plan("google");
            assert_eq!((plan.volume(0), plan.volume(999)), (first, last), "{keys}");
        }
    }
}
