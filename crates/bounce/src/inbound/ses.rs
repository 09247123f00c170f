//! Notifications of Amazon SES as JSON, which arrive as mail where a topic has an address as its subscriber.

use serde_json::Value;
use skein_mail::dsn::Action;

use crate::address::of_field;
use crate::inbound::status::{Group, RECIPIENTS_MAX};

/// What a notification says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notification {
    pub is_complaint: bool,
    pub groups: Vec<Group>,
    pub return_path: Option<String>,
    pub message_id: Option<String>,
}

/// Reads a notification, whether in the envelope of a topic or bare. None if it is none.
pub(crate) fn read(text: &str) -> Option<Notification> {
    let start = text.find('{')?;
    // Some text may stand behind; the stream ends with the first value.
    let outer = first_value(&text[start..])?;
    let inner = outer
        .get("Message")
        .and_then(Value::as_str)
        .and_then(first_value);
    let value = inner.unwrap_or(outer);
    let kind = ["notificationType", "eventType"]
        .iter()
        .find_map(|name| value.get(name)?.as_str())?;
    let (of, list, action) = match kind {
        "Bounce" => ("bounce", "bouncedRecipients", Action::Failed),
        "Complaint" => ("complaint", "complainedRecipients", Action::Failed),
        "Delivery" => ("delivery", "recipients", Action::Delivered),
        "DeliveryDelay" => ("deliveryDelay", "delayedRecipients", Action::Delayed),
        _ => return None,
    };
    let recipients = value.get(of)?.get(list)?.as_array()?;
    let mail = value.get("mail");
    let of_mail = |name: &str| Some(mail?.get(name)?.as_str()?.to_owned());
    Some(Notification {
        is_complaint: kind == "Complaint",
        groups: recipients
            .iter()
            .take(RECIPIENTS_MAX)
            .map(|one| group(one, action))
            .collect(),
        return_path: of_mail("source"),
        message_id: mail
            .and_then(|mail| mail.get("commonHeaders")?.get("messageId")?.as_str())
            .map(str::to_owned)
            .or_else(|| of_mail("messageId")),
    })
}

fn first_value(text: &str) -> Option<Value> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.next()?.ok()
}

fn group(recipient: &Value, action: Action) -> Group {
    let text = |name: &str| recipient.get(name).and_then(Value::as_str);
    let address = recipient.as_str().or_else(|| text("emailAddress"));
    Group {
        final_recipient: address.and_then(of_field),
        original_recipient: None,
        action: Some(action),
        status: text("status").and_then(skein_smtp::reply::Enhanced::parse),
        diagnostic: text("diagnosticCode").map(str::to_owned),
        comment: None,
        remote_mta: None,
    }
}
