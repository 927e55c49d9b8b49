//! Marketers' own templates are hostile input: an allow-list over the template language, caps on sizes, and MJML without doors.
//!
//! Tera has no fuel, so what could run long must not be expressible: no functions, no `set`, no arithmetic, no string building, loops only
//! over the products of the mail (at most three), nested at most twice.

use std::io::{self, Write};

use super::brand::BrandKit;
use super::email::{EmailError, EmailTemplate, MailContext, RenderedEmail, to_html};
use crate::copywriter::title;

/// Most bytes of a template's source.
pub const MAX_SOURCE: usize = 64 * 1024;
/// Most bytes of a rendered mail.
pub const MAX_OUTPUT: usize = 256 * 1024;
const MAX_NESTING: usize = 2;
/// Blocks in all: output grows with each.
const MAX_BLOCKS: usize = 100;
const MAX_DEPTH_XML: usize = 40;

const FILTERS: &[&str] =
    &["upper", "lower", "trim", "title", "capitalize", "truncate", "default", "escape", "newlines_to_br", "length", "first", "last"];
const ROOTS: &[&str] = &["copy", "product", "more", "links", "shop", "postal_address", "item", "loop"];
const WORDS: &[&str] = &["and", "or", "not", "true", "false", "in", "is", "defined", "undefined"];

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the template holds {0} bytes; at most {MAX_SOURCE} are taken")]
    TooLong(usize),
    #[error("line {line}: {why}")]
    NotAllowed { line: usize, why: String },
    #[error("the mail would be larger than {MAX_OUTPUT} bytes")]
    OutputTooLong,
    #[error(transparent)]
    Email(#[from] EmailError),
}

/// A marketer's template that passed.
pub struct CustomTemplate {
    compiled: EmailTemplate,
}

impl CustomTemplate {
    /// Checks and compiles. Run it in a process that can be killed where the source is new ([`super::preview`]).
    pub fn compile(mjml: &str, text: &str, brand: &BrandKit) -> Result<Self, TemplateError> {
        check(mjml)?;
        check(text)?;
        check_mjml(mjml)?;
        let html = to_html(mjml)?;
        // Compiling decodes entities: what was `&#123;{` in the source is a tag now, and `java&#115;cript:` an address.
        check_tags(&html)?;
        check_addresses(&html)?;
        Ok(Self { compiled: EmailTemplate::of_html(&html, text, brand)? })
    }

    pub fn render(&self, context: &MailContext) -> Result<RenderedEmail, TemplateError> {
        let mut out = Capped { bytes: Vec::new(), full: false };
        let text = match self.compiled.render_to(context, &mut out) {
            Ok(text) => text,
            Err(_) if out.full => return Err(TemplateError::OutputTooLong),
            Err(error) => return Err(error.into()),
        };
        if text.len() > MAX_OUTPUT {
            return Err(TemplateError::OutputTooLong);
        }
        let html = String::from_utf8_lossy(&out.bytes).into_owned();
        Ok(RenderedEmail { subject: title::one_line(&context.copy.subject).chars().take(200).collect(), html, text })
    }
}

struct Capped {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > MAX_OUTPUT {
            self.full = true;
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads every tag of a template and refuses what is not on the lists.
pub fn check(source: &str) -> Result<(), TemplateError> {
    if source.len() > MAX_SOURCE {
        return Err(TemplateError::TooLong(source.len()));
    }
    check_tags(source)
}

fn check_tags(source: &str) -> Result<(), TemplateError> {
    let mut open: Vec<&str> = Vec::new();
    let mut blocks = 0;
    let mut at = 0;
    while let Some(found) = source[at..].find("{{").into_iter().chain(source[at..].find("{%")).chain(source[at..].find("{#")).min() {
        let start = at + found;
        let line = source[..start].matches('\n').count() + 1;
        let refuse = |why: String| Err(TemplateError::NotAllowed { line, why });
        let kind = &source[start..start + 2];
        let close = match kind {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let Some(length) = source[start + 2..].find(close) else {
            return refuse(format!("“{kind}” is never closed"));
        };
        let inner = source[start + 2..start + 2 + length].trim().trim_start_matches('-').trim_end_matches('-').trim();
        at = start + 2 + length + 2;
        blocks += 1;
        if blocks > MAX_BLOCKS {
            return refuse(format!("more than {MAX_BLOCKS} tags"));
        }
        match kind {
            "{{" => expression(inner).or_else(refuse)?,
            "{%" => block(inner, &mut open).or_else(refuse)?,
            _ => {}
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(TemplateError::NotAllowed { line: source.lines().count(), why: format!("“{}” is never ended", open.concat()) })
    }
}

fn block<'a>(inner: &'a str, open: &mut Vec<&'a str>) -> Result<(), String> {
    let (word, rest) = inner.split_once(char::is_whitespace).unwrap_or((inner, ""));
    match word {
        "if" | "elif" => {
            if word == "if" {
                open.push("if");
            } else if open.last() != Some(&"if") {
                return Err("“elif” without “if”".into());
            }
            expression(rest)?;
        }
        "else" if rest.is_empty() => {}
        "endif" if rest.is_empty() => return if open.pop() == Some("if") { Ok(()) } else { Err("“endif” without “if”".into()) },
        "for" => {
            if rest.split_whitespace().collect::<Vec<_>>() != ["item", "in", "more"] {
                return Err("the only loop is “for item in more”".into());
            }
            if open.contains(&"for") {
                return Err("loops do not nest".into());
            }
            open.push("for");
        }
        "endfor" if rest.is_empty() => {
            return if open.pop() == Some("for") { Ok(()) } else { Err("“endfor” without “for”".into()) };
        }
        other => return Err(format!("the tag “{}” is not allowed: if, elif, else, for are", other.chars().take(30).collect::<String>())),
    }
    if open.len() > MAX_NESTING { Err(format!("nested deeper than {MAX_NESTING}")) } else { Ok(()) }
}

/// Names of the context, dots, indices, comparisons, short literals, allowed filters. No calls, no arithmetic, no lists or maps.
fn expression(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 200 {
        return Err("an expression has 1 to 200 characters".into());
    }
    let mut chars = text.char_indices().peekable();
    let mut before = ' ';
    let mut filters = 0;
    let mut after_filter = false;
    let mut inside_call = false;
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' | '\n' | '\t' => continue,
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = text[at..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(text.len(), |n| at + n);
                let word = &text[at..end];
                while chars.peek().is_some_and(|(i, _)| *i < end) {
                    chars.next();
                }
                let next = text[end..].trim_start().chars().next();
                if word.starts_with("__") {
                    return Err(format!("“{word}” is not allowed"));
                }
                if before == '|' {
                    if !FILTERS.contains(&word) {
                        return Err(format!("the filter “{word}” is not allowed: {}", FILTERS.join(", ")));
                    }
                    filters += 1;
                    after_filter = true;
                } else if inside_call && next == Some('=') {
                    // an argument's name
                } else if before != '.' {
                    if next == Some('(') || text[end..].starts_with("::") {
                        return Err(format!("functions are not allowed: “{word}”"));
                    }
                    if !ROOTS.contains(&word) && !WORDS.contains(&word) {
                        return Err(format!("“{word}” is not known: {}", ROOTS.join(", ")));
                    }
                }
                before = 'w';
                continue;
            }
            '0'..='9' => {
                let digits = text[at..].chars().take_while(char::is_ascii_digit).count();
                if digits > 4 {
                    return Err("numbers have at most four digits".into());
                }
                for _ in 1..digits {
                    chars.next();
                }
            }
            '"' | '\'' => {
                let Some(length) = text[at + 1..].find(c) else { return Err("a text is never closed".into()) };
                let end = at + 1 + length;
                while chars.peek().is_some_and(|(i, _)| *i <= end) {
                    chars.next();
                }
            }
            '(' if after_filter && before == 'w' => inside_call = true,
            ')' if inside_call => inside_call = false,
            '.' if before == 'w' || before == ']' => {}
            '[' if before == 'w' && text[at + 1..].trim_start().starts_with(|c: char| c.is_ascii_digit()) => {}
            ']' if before.is_ascii_digit() => {}
            '|' => {
                if filters >= 4 {
                    return Err("at most four filters".into());
                }
            }
            '=' | '!' | '<' | '>' => {}
            ',' if inside_call => {}
            other => return Err(format!("“{other}” is not allowed here")),
        }
        if c != '(' && c != ')' && c != '=' && c != ',' {
            after_filter = false;
        }
        before = c;
    }
    Ok(())
}

/// Attributes that a mail program or a browser may follow.
const ADDRESSES: &str =
    r#"(?i)[\s"'/](href|src|srcset|action|formaction|background|poster|cite|data)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))"#;

/// Every address in the compiled HTML is a web or mail address, or one of the mail's own links: a title or a text of the catalogue is none.
fn check_addresses(html: &str) -> Result<(), TemplateError> {
    let Ok(pattern) = regex::Regex::new(ADDRESSES) else { return Ok(()) };
    for found in pattern.captures_iter(html) {
        let value = found.get(2).or_else(|| found.get(3)).or_else(|| found.get(4)).map_or("", |m| m.as_str());
        let value = html_escape::decode_html_entities(value);
        let value = value.trim();
        let lower = value.to_ascii_lowercase();
        let own = value.strip_prefix("{{").and_then(|rest| rest.split_once("}}")).is_some_and(|(inner, _)| is_link(inner.trim()));
        let plain = value.is_empty() || ["https://", "http://", "mailto:", "tel:", "#"].iter().any(|start| lower.starts_with(start));
        if !own && !plain {
            let shown: String = value.chars().take(60).collect();
            let why = format!("“{shown}” is no address for a mail: https, http, mailto, tel, or one of the mail's own links");
            return Err(TemplateError::NotAllowed { line: 0, why });
        }
    }
    Ok(())
}

/// `product.url`, `more[1].image_url`, `links.unsubscribe`: addresses that we made ourselves or checked.
fn is_link(expression: &str) -> bool {
    let Some((of, field)) = expression.rsplit_once('.') else { return false };
    match of {
        "links" => field.chars().all(|c| c.is_ascii_alphabetic() || c == '_'),
        "product" | "item" => matches!(field, "url" | "image_url"),
        _ => {
            of.strip_prefix("more[").and_then(|n| n.strip_suffix(']')).is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
                && matches!(field, "url" | "image_url")
        }
    }
}

/// MJML without scripts, includes, forms or handlers, and not absurdly deep.
fn check_mjml(source: &str) -> Result<(), TemplateError> {
    let lower = source.to_lowercase();
    for word in [
        "<script",
        "<iframe",
        "<object",
        "<embed",
        "<form",
        "<link",
        "<mj-include",
        "<mj-font",
        "<base",
        "<svg",
        "@import",
        "javascript:",
        "vbscript:",
        "data:text",
        "expression(",
        "<!entity",
        "<!doctype",
    ] {
        if let Some(at) = lower.find(word) {
            return Err(TemplateError::NotAllowed {
                line: lower[..at].matches('\n').count() + 1, why: format!("“{word}” is not allowed")
            });
        }
    }
    let handler = regex::Regex::new(r#"[\s"'/]on[a-z]{3,}\s*="#).ok().and_then(|r| r.find(&lower).map(|m| m.start()));
    if let Some(at) = handler {
        return Err(TemplateError::NotAllowed {
            line: lower[..at].matches('\n').count() + 1,
            why: "event handlers are not allowed".into(),
        });
    }
    let mut depth = 0_usize;
    for (at, _) in lower.match_indices('<') {
        let rest = &lower[at + 1..];
        if rest.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let tag_end = rest.find('>').unwrap_or(rest.len());
            if !rest[..tag_end].ends_with('/')
                && !rest.starts_with("br")
                && !rest.starts_with("img")
                && !rest.starts_with("meta")
                && !rest.starts_with("hr")
            {
                depth += 1;
            }
        }
        if depth > MAX_DEPTH_XML {
            return Err(TemplateError::NotAllowed {
                line: lower[..at].matches('\n').count() + 1,
                why: format!("elements nested deeper than {MAX_DEPTH_XML}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copywriter::Locale;
    use crate::creative::email::tests::sample;

    fn wrap(inner: &str) -> String {
        format!("<mjml><mj-body><mj-section><mj-column><mj-text>{inner}</mj-text></mj-column></mj-section></mj-body></mjml>")
    }

    #[test]
    fn an_honest_template_works() {
        let mjml = wrap(
            "{{ copy.headline | upper }} {% if product.was %}<s>{{ product.was }}</s>{% else %}-{% endif %} {% for item in more %}{{ item.title | truncate(length=12) }}; {% endfor %}{{ more[0].title }} {{ copy.preheader | default(value=\"x\") }}",
        );
        let template = CustomTemplate::compile(&mjml, "{{ copy.body }}", &BrandKit::default()).expect("allowed");
        let mail = template.render(&sample(Locale::En, 2, true, true, "Mug")).expect("renders");
        assert!(mail.html.contains("<s>€39.00</s>") && mail.html.contains("Mug;"));
    }

    #[test]
    fn what_could_run_long_or_leak_is_refused() {
        let deep = "{% if product %}".repeat(3) + &"{% endif %}".repeat(3);
        for hostile in [
            "{% for i in range(end=1000000000) %}x{% endfor %}",
            "{% for i in more %}x{% endfor %}",
            "{% for item in more %}{% for item in more %}x{% endfor %}{% endfor %}",
            "{% set a = copy.body %}",
            "{% set_global a = 1 %}",
            "{{ __tera_context }}",
            "{{ get_env(name=\"PATH\") }}",
            "{{ throw(message=\"x\") }}",
            "{{ copy.body | replace(from=\"a\", to=\"aaaaaaaa\") | replace(from=\"a\", to=\"aaaaaaaa\") }}",
            "{{ copy.body | safe }}",
            "{{ copy.body | indent(width=9999) }}",
            "{{ copy.body | get(key=\"x\") }}",
            "{{ \"x\" * 1000000 }}",
            "{{ copy.body ~ copy.body }}",
            "{{ [1,2,3] }}",
            "{{ {\"a\": 1} }}",
            "{{ 99999 }}",
            "{{ config.secret }}",
            "{% include \"/etc/passwd\" %}",
            "{% extends \"x\" %}",
            "{% macro x() %}{% endmacro %}",
            "{% component X() %}{% endcomponent %}",
            "{% raw %}{{ x }}{% endraw %}",
            "{% filter upper %}x{% endfilter %}",
            "{% block x %}{% endblock %}",
            "{{ <X /> }}",
            "{{ copy.body",
            "{% if product %}",
            "{% endif %}",
            &deep,
            "{{ }}",
        ] {
            assert!(CustomTemplate::compile(&wrap(hostile), "x", &BrandKit::default()).is_err(), "{hostile}");
            assert!(check(hostile).is_err(), "{hostile}");
        }
        for hostile in [
            "<script>alert(1)</script>",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<b onclick=\"x\">y</b>",
            "<mj-include path=\"/etc/passwd\" />",
            "<style>@import url(x)</style>",
        ] {
            assert!(CustomTemplate::compile(&wrap(hostile), "x", &BrandKit::default()).is_err(), "{hostile}");
        }
        // What compiling turns into tags or addresses.
        for hostile in [
            "&#123;&#123; __tera_context &#125;&#125;",
            "&#123;{ config.secret }}",
            "&lbrace;% for i in range(end=1000000000) %&rbrace;x&lbrace;% endfor %&rbrace;",
            "{&#x7b; get_env(name='PATH') }}",
            "<a href=\"java&#115;cript:alert(1)\">x</a>",
            "<a href=\"java\tscript:alert(1)\">x</a>",
            "<a href=\" \u{1}javascript:alert(1)\">x</a>",
            "<a href=\"data:image/svg+xml,x\">x</a>",
            "<a href=\"//evil.example/\">x</a>",
            "<a href=\"{{ product.title }}\">x</a>",
            "<a href=\"{{ copy.body }}\">x</a>",
            "<img src=\"{{ product.title }}\">",
            "<img src=\"file:///etc/passwd\">",
        ] {
            assert!(CustomTemplate::compile(&wrap(hostile), "x", &BrandKit::default()).is_err(), "{hostile}");
        }
        for honest in [
            "<a href=\"{{ product.url }}\">x</a> <a href='{{ links.unsubscribe }}'>y</a> <img src=\"{{ more[0].image_url }}\">",
            "<a href=\"https://shop.example/a?b=1&amp;c=2\">x</a> <a href=\"mailto:ask@shop.example\">z</a> <a href=\"#top\">t</a>",
        ] {
            assert!(CustomTemplate::compile(&wrap(honest), "x", &BrandKit::default()).is_ok(), "{honest}");
        }
        assert!(matches!(check(&"x".repeat(MAX_SOURCE + 1)), Err(TemplateError::TooLong(_))));
        assert!(CustomTemplate::compile(&wrap(&"<b>".repeat(5_000)), "x", &BrandKit::default()).is_err());
        assert!(check(&"{{ shop }}".repeat(200)).is_err());
    }

    #[test]
    fn the_output_is_capped() {
        let mjml = wrap(&format!("{{% for item in more %}}{}{{{{ copy.body }}}}{{% endfor %}}", "y".repeat(50_000)));
        let template = CustomTemplate::compile(&mjml, "x", &BrandKit::default()).expect("allowed");
        let mut context = sample(Locale::En, 3, true, true, "Mug");
        context.copy.body = "z".repeat(60_000);
        assert!(matches!(template.render(&context), Err(TemplateError::OutputTooLong)));
    }
}
