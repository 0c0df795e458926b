//! Wrong files, and what people are told about them.
//!
//! Each `wrong/*.toml` holds many, every one below a line with its name; the snapshots hold what
//! people read.

use std::fmt::Write;

use super::load;

/// Renders the errors of each file, below its name.
fn told(files: &str) -> String {
    let mut told = String::new();
    for file in files.split("### ").skip(1) {
        let (name, text) = file.split_once('\n').unwrap();
        let errors = load(text).expect_err(name);
        writeln!(told, "## {name}\n\n{errors}\n").unwrap();
    }
    told
}

macro_rules! people_are_told {
    ($($claim:ident: $name:literal,)+) => {$(
        #[test]
        fn $claim() {
            let told = told(include_str!(concat!("wrong/", $name, ".toml")));
            insta::with_settings!({
                omit_expression => true,
                prepend_module_to_snapshot => false,
                snapshot_path => "../snapshots",
            }, {
                insta::assert_snapshot!(concat!("wrong_", $name), told);
            });
        }
    )+};
}

people_are_told! {
    the_text_is_not_toml: "toml",
    the_key_is_unknown: "keys",
    the_choice_is_not_one: "choices",
    the_store_is_wrong: "store",
    the_ledger_is_wrong: "ledger",
    the_identity_is_wrong: "identity",
    the_tokens_are_verified_wrongly: "jwt",
    the_answers_are_wrong: "responses",
    the_quotas_and_plans_are_wrong: "plans",
    the_limits_are_wrong: "limits",
    the_charges_are_wrong: "charges",
    the_rules_are_wrong: "routes",
    administration_is_wrong: "admin",
    it_is_not_supported_yet: "later",
}
