//! Plans of the database, beside those of the file.

use quota_store::{
    Availability, Orphans, Periods, PlanName, UnixMillis,
    directory::{StoredPlan, StoredPlans},
};
use serde_json::{Value, json};

use super::{
    super::{Config, Rejected, merged},
    loaded,
};

const FILE: &str = r#"
[plans.free]
default = true
grace = "10%"
features = ["a", "b"]
limits.messages = "5/day"
"#;

fn stored(plans: &[(&str, Value)], default: Option<&str>) -> StoredPlans {
    let plans = plans.iter().map(|(name, body)| StoredPlan {
        name: PlanName::new(name).unwrap(),
        body: body.clone(),
        changed_at: UnixMillis::new(0),
    });
    StoredPlans {
        generation: quota_store::Generation(1),
        default: default.map(|name| PlanName::new(name).unwrap()),
        plans: plans.collect(),
    }
}

fn names(config: &Config) -> Vec<&str> {
    let plans = config.plans.iter();
    plans.map(|plan| plan.name.as_str()).collect()
}

#[track_caller]
fn check_rejected(plan: Value, field: &str, problem: &str) {
    let file = loaded(FILE);
    let (config, rejected) = merged(&file, &stored(&[("gold", plan)], None));
    assert_eq!(names(&config), ["free"]);
    let expected = Rejected {
        plan: PlanName::new("gold").unwrap(),
        field: field.to_owned(),
        problem: problem.to_owned(),
    };
    assert_eq!(rejected, [expected]);
}

#[test]
fn stored_plans_stand_after_those_of_the_file_and_extend_both() {
    let file = loaded(FILE);
    let plans = [
        (
            "gold",
            json!({ "extends": "silver", "limits": { "tokens": ["1K/day", "9K/month"] } }),
        ),
        (
            "silver",
            json!({ "extends": "free", "limits": { "messages": "unlimited" }, "order": 3 }),
        ),
    ];
    let (config, rejected) = merged(&file, &stored(&plans, Some("silver")));
    assert_eq!(rejected, []);
    assert_eq!(names(&config), ["free", "gold", "silver"]);
    assert_eq!(config.default_plan.name.as_str(), "silver");
    let gold = &config.plans[1];
    assert_eq!(gold.features, ["a", "b"]);
    assert_eq!(gold.limits.len(), 2);
    assert_ne!(config.revision(), file.revision());
    let (again, _) = merged(&file, &stored(&plans, Some("silver")));
    assert_eq!(config.revision(), again.revision());
}

#[test]
fn without_stored_plans_nothing_is_different() {
    let file = loaded(FILE);
    let (config, rejected) = merged(&file, &StoredPlans::default());
    assert_eq!(rejected, []);
    assert_eq!(config.revision(), file.revision());
}

#[test]
fn a_plan_of_the_file_wins_over_a_stored_one_of_its_name() {
    let file = loaded(FILE);
    let plans = [("free", json!({ "order": 9 }))];
    let (config, rejected) = merged(&file, &stored(&plans, None));
    assert_eq!(names(&config), ["free"]);
    assert_eq!(config.plans[0].display.order, 0);
    assert_eq!(rejected.len(), 1);
}

#[test]
fn a_stored_plan_that_does_not_read_is_left_out_with_those_that_extend_it() {
    let file = loaded(FILE);
    let plans = [
        ("broken", json!({ "limits": { "message": "5/day" } })),
        ("child", json!({ "extends": "broken" })),
        ("good", json!({ "limits": { "messages": "7/day" } })),
    ];
    let (config, rejected) = merged(&file, &stored(&plans, Some("child")));
    assert_eq!(names(&config), ["free", "good"]);
    assert_eq!(config.default_plan.name.as_str(), "free");
    let left_out: Vec<&str> = rejected.iter().map(|one| one.plan.as_str()).collect();
    assert_eq!(left_out, ["broken", "child"]);
}

#[test]
fn messages_name_the_key_and_say_how_to_mend_it() {
    check_rejected(
        json!({ "limits": { "message": "5/day" } }),
        "limits.message",
        "there is no quota `message`; did you mean `messages`?",
    );
    check_rejected(
        json!({ "limits": { "messages": 5 } }),
        "limits.messages",
        "`plans.gold.limits.messages` does not say in which window; write \"5/day\", \
         \"5/month\" or so; limits of stocks, which have no window, are not supported yet",
    );
    check_rejected(
        json!({ "colour": "red" }),
        "colour",
        "there is no key `colour` in `plans.gold`; the keys here are: `rates`, `default`, \
         `extends`, `limits`, `tenant_limits`, `reserve`, `grace`, `warn_at`, `timezone`, \
         `unlisted`, `anchor`, `orphans`, `features`, `enabled`, `title`, `description`, \
         `price`, `order`, `visible`",
    );
    check_rejected(
        json!({ "default": true }),
        "default",
        "`default` is not said in the plan itself; leave it out, and name the default plan by \
         itself",
    );
    check_rejected(
        json!({ "extends": "gold" }),
        "extends",
        "plans extend each other: gold -> gold; leave out one `extends`",
    );
}

#[test]
fn plans_say_what_becomes_of_units_periods_and_newcomers() {
    let config = loaded(
        "[plans.free]\ndefault = true\nfeatures = [\"x\"]\n[plans.old]\nextends = \"free\"\n\
         enabled = false\nanchor = \"subscription\"\norphans = \"charge\"\n[plans.bare]\n\
         extends = \"old\"\nfeatures = []\n",
    );
    let [free, old, bare] = config.plans.as_slice() else {
        panic!("three plans");
    };
    assert_eq!((free.periods, free.orphans), (Periods::Calendar, None));
    assert_eq!(free.availability, Availability::Enabled);
    assert_eq!(old.features, ["x"]);
    assert_eq!(old.periods, Periods::Subscription);
    assert_eq!(old.orphans, Some(Orphans::Charge));
    assert_eq!(old.availability, Availability::Disabled);
    assert_eq!(bare.features, Vec::<String>::new());
    assert_eq!((bare.periods, bare.orphans), (Periods::Calendar, None));
    assert_eq!(bare.availability, Availability::Enabled);
}
