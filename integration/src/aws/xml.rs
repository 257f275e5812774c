//! The XML that STS answers with.

use std::fmt::Write;

use crate::unique;

/// One element; its text is escaped.
pub(super) fn element(name: &str, text: &str) -> String {
    let mut xml = format!("<{name}>");
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&#39;"),
            other => xml.push(other),
        }
    }
    // Writing to a String cannot fail.
    let _ = write!(xml, "</{name}>");
    xml
}

/// One element around others.
pub(super) fn nest(name: &str, children: &[String]) -> String {
    format!("<{name}>{}</{name}>", children.concat())
}

/// The document around a result.
pub(super) fn response(action: &str, result: &[String]) -> String {
    let metadata = nest("ResponseMetadata", &[element("RequestId", &unique::uuid())]);
    document(
        &format!("{action}Response"),
        &[nest(&format!("{action}Result"), result), metadata],
    )
}

/// The document around an error.
pub(super) fn error(kind: &str, code: &str, message: &str) -> String {
    let fields = [
        element("Type", kind),
        element("Code", code),
        element("Message", message),
    ];
    document(
        "ErrorResponse",
        &[
            nest("Error", &fields),
            element("RequestId", &unique::uuid()),
        ],
    )
}

fn document(root: &str, children: &[String]) -> String {
    format!(
        "<{root} xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{}</{root}>",
        children.concat()
    )
}
