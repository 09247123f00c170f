use super::*;
use skein_model::bounce::Group;

#[test]
fn permanent_and_bounce_are_the_hard_classes_alone() {
    for class in Class::ALL {
        let is_hard = class.group() == Group::Hard;
        let is_permanent = ses(class).is_some_and(|words| words.bounce_type == "Permanent");
        let is_bounce = send_grid(class).is_some_and(|words| words.event_type == "bounce");
        assert_eq!((is_permanent, is_bounce), (is_hard, is_hard), "{class}");
        let is_one = class.group() != Group::None;
        assert_eq!(send_grid(class).is_some(), is_one, "{class}");
    }
}
