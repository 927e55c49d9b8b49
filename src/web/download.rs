//! Tables as files: CSV in which no cell is a formula, whole or written while it is read.

use std::future::Future;
use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;

use super::table::formula_safe;
use crate::platform::http::{ApiError, ApiResult};

/// Rows that are read and written at a time.
pub const PIECE: i64 = 500;

/// Cells of a file, each made safe: numbers stay numbers, a text that a spreadsheet would run gets an apostrophe.
fn record(cells: &[String]) -> impl Iterator<Item = String> + '_ {
    cells.iter().map(|cell| {
        let number = cell.strip_prefix('-').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
        if number { cell.clone() } else { formula_safe(cell) }
    })
}

fn lines(head: Option<&[&str]>, rows: &[Vec<String>]) -> anyhow::Result<Vec<u8>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    if let Some(head) = head {
        out.write_record(head)?;
    }
    for row in rows {
        out.write_record(record(row))?;
    }
    Ok(out.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

fn answer(name: &str) -> actix_web::HttpResponseBuilder {
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).collect();
    let mut answer = HttpResponse::Ok();
    answer.content_type("text/csv; charset=utf-8");
    answer.insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")));
    answer
}

/// A file that is small enough to be made at once.
pub fn whole(name: &str, head: &[&str], rows: &[Vec<String>]) -> ApiResult {
    Ok(answer(name).body(lines(Some(head), rows).map_err(ApiError::internal)?))
}

/// A file that is written while it is read. `next` makes some rows from a state and says with which state it goes on; `None`: that was all.
pub fn pieces<S, F, Fut>(name: &str, head: &'static [&'static str], state: S, next: F) -> HttpResponse
where
    S: 'static,
    F: Fn(S) -> Fut + 'static,
    Fut: Future<Output = anyhow::Result<(Vec<Vec<String>>, Option<S>)>> + 'static,
{
    let next = Rc::new(next);
    let stream = futures::stream::try_unfold((Some(state), Some(head)), move |(state, head)| {
        let next = Rc::clone(&next);
        async move {
            let Some(state) = state else { return Ok(None) };
            let piece = async {
                let (rows, more) = next(state).await?;
                anyhow::Ok((Bytes::from(lines(head, &rows)?), more))
            };
            match piece.await {
                Ok((bytes, more)) => Ok(Some((bytes, (more, None)))),
                Err(error) => {
                    tracing::error!(%error, "a file broke off");
                    Err(actix_web::error::ErrorInternalServerError("the file broke off"))
                }
            }
        }
    });
    answer(name).streaming(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_formulas_do_not() {
        let row = ["-5.20", "=1+1", "-1+1", "+49 30", "@x", "plain, with comma"].map(str::to_owned);
        let text = String::from_utf8(lines(Some(&["a", "b", "c", "d", "e", "f"]), &[row.to_vec()]).expect("a file")).expect("text");
        assert_eq!(text, "a,b,c,d,e,f\n-5.20,'=1+1,'-1+1,'+49 30,'@x,\"plain, with comma\"\n");
    }
}
