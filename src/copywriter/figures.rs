//! SQL of `copy_figures`: what copies came to, filled by who counts, so that the gallery is ordered by it.

use sqlx::QueryBuilder;

use crate::on;
use crate::platform::db::Tx;
use crate::platform::ids::CopyId;

/// What a copy came to so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFigures {
    pub copy_id: CopyId,
    /// Sent, or shown.
    pub sent: i64,
    pub clicked: i64,
}

/// Writes figures of copies that exist. At most some thousand at a time.
pub async fn put_figures(tx: &mut Tx, figures: &[CopyFigures]) -> sqlx::Result<()> {
    if figures.is_empty() {
        return Ok(());
    }
    on!(tx, |c| {
        let mut q = QueryBuilder::new("INSERT INTO copy_figures (copy_id, sent, clicked) ");
        q.push_values(figures, |mut row, f| {
            row.push_bind(f.copy_id).push_bind(f.sent).push_bind(f.clicked);
        });
        q.push(" ON CONFLICT (copy_id) DO UPDATE SET sent = excluded.sent, clicked = excluded.clicked");
        q.build().persistent(false).execute(&mut *c).await.map(|_| ())
    })
}
