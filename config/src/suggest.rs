//! Did you mean: the nearest known word, or what a word of another tool is called here.

/// The known word a typist most likely meant, if one is near enough: one edit in three characters.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let limit = typed.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|word| {
            (
                strsim::osa_distance(&typed, &word.to_ascii_lowercase().replace('-', "_")),
                word,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// What keys of other tools' database URLs are called here (libpq, JDBC, Node's and Go's MySQL drivers).
pub(crate) fn foreign(key: &str) -> Option<&'static str> {
    let told = match key.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "sslmode" | "ssl" | "usessl" | "requiressl" | "tls" | "sslnegotiation" => {
            "leave it out: TLS to the database is always on and always verified"
        }
        "sslrootcert" | "sslca" | "cafile" | "cabundle" => "here it is called `tls_ca_file`",
        "user" | "username" => "write the user before the host: postgres://USER@HOST",
        "host" | "hostname" | "hostaddr" | "port" => {
            "write host and port in the URL: postgres://HOST:PORT"
        }
        "dbname" | "database" => "write the database after the host: postgres://HOST/DB",
        "poolsize" | "maxconn" | "maxpoolsize" | "poolmaxconns" => {
            "here it is called `max_connections`"
        }
        "applicationname" | "options" | "charset" => "clients set it themselves; it passes through",
        _ => return None,
    };
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["role_arn", "region", "mode"];
        assert_eq!(nearest("role-arn", known), Some("role_arn"));
        assert_eq!(nearest("roel_arn", known), Some("role_arn"));
        assert_eq!(nearest("moed", known), Some("mode"));
        assert_eq!(nearest("password", known), None);
        assert_eq!(nearest("", known), None);
    }
}
