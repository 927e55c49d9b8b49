//! The mails of campaigns: checked by the campaign's rules, written from copy, products and the shop's templates.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::compose::{Compose, Mail, Ready, Verdict};
use super::message::{MailFrom, Outgoing, Sender};
use crate::campaign::{self, Campaign, CampaignError};
use crate::catalog::{self, Product};
use crate::copywriter::{self, StoredCopy};
use crate::creative::BrandKit;
use crate::creative::custom::CustomTemplate;
use crate::creative::email::{EmailKind, EmailTemplates, MAX_MORE, MailContext, MailLinks, ProductView};
use crate::creative::own::compiled_own;
use crate::people::{self, Person};
use crate::platform::Platform;
use crate::platform::ids::{CampaignId, CopyId, PersonId, ProductId, TouchId};
use crate::touches::{self, Content, Outcome, Touch, links};

/// Composes for one dispatch.
pub struct CampaignMail {
    platform: Platform,
    owner: std::sync::OnceLock<String>,
    sender: Arc<Sender>,
    templates: Arc<Templates>,
}

/// Those that come with Marquee, and the shop's own by key.
struct Templates {
    built_in: EmailTemplates,
    own: HashMap<String, CustomTemplate>,
}

/// Everything one mail is written from.
pub struct Draft {
    touch: Touch,
    person: Person,
    email: String,
    copy: StoredCopy,
    products: Vec<Product>,
    campaign: Arc<Campaign>,
}

impl CampaignMail {
    pub async fn load(platform: &Platform) -> anyhow::Result<Self> {
        let sender = Sender::load(&*super::mail_config(platform).await?)?;
        let brand = BrandKit::load(platform).await?;
        let own = compiled_own(&platform.db, &brand).await?;
        let templates = Templates { built_in: EmailTemplates::new(brand), own };
        Ok(Self { platform: platform.clone(), owner: std::sync::OnceLock::new(), sender: Arc::new(sender), templates: Arc::new(templates) })
    }

    pub fn address(&self) -> lettre::Address {
        self.sender.address().clone()
    }

    async fn campaigns(&self, touches: &[Touch]) -> Result<HashMap<CampaignId, Arc<Campaign>>, CampaignError> {
        let mut found = HashMap::new();
        for id in touches.iter().map(|t| t.campaign_id).collect::<HashSet<_>>() {
            match campaign::get(&self.platform.db, id).await {
                Ok(campaign) => {
                    found.insert(id, Arc::new(campaign));
                }
                Err(CampaignError::NotFound) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(found)
    }

    /// The touches that go out, with what the checks chose anew.
    async fn renew(&self, touches: Vec<Touch>, contents: HashMap<TouchId, Content>) -> anyhow::Result<Vec<Touch>> {
        if contents.is_empty() {
            return Ok(touches);
        }
        let owner = self.owner.get().cloned().unwrap_or_default();
        let mut tx = self.platform.db.begin().await?;
        touches::set_content(&mut tx, &owner, &contents.values().cloned().collect::<Vec<_>>(), self.platform.now()).await?;
        tx.commit().await?;
        Ok(touches
            .into_iter()
            .map(|mut touch| {
                if let Some(content) = contents.get(&touch.id) {
                    touch.product_id = content.product_ids.first().copied();
                    touch.product_ids = content.product_ids.iter().map(|p| p.0).collect();
                    touch.copy_id = content.copy_id;
                    touch.creative_id = content.creative_id;
                }
                touch
            })
            .collect())
    }

    async fn drafts(&self, touches: Vec<Touch>) -> anyhow::Result<Vec<(TouchId, Verdict<Ready<Draft>>)>> {
        let db = &self.platform.db;
        let campaigns = self.campaigns(&touches).await?;
        let people: Vec<PersonId> = touches.iter().filter_map(|t| t.person_id).collect();
        let people = people::get_many(db, &people).await?;
        let copies: Vec<CopyId> = touches.iter().filter_map(|t| t.copy_id).collect::<HashSet<_>>().into_iter().collect();
        let copies: HashMap<CopyId, StoredCopy> = copywriter::get_many(db, &copies).await?;
        let products: HashSet<ProductId> = touches.iter().flat_map(|t| t.product_ids.iter().copied().map(ProductId)).collect();
        let products = catalog::get_many(db, &products.into_iter().collect::<Vec<_>>()).await?;
        Ok(touches
            .into_iter()
            .map(|touch| {
                let id = touch.id;
                let fail = |why: &str| (id, Verdict::End(Outcome::Failed(why.to_owned())));
                let Some(person) = touch.person_id.and_then(|p| people.get(&p)).cloned() else { return fail("person_gone") };
                let Some(email) = person.email.clone() else { return fail("no_address") };
                let Some(copy) = touch.copy_id.and_then(|c| copies.get(&c)).cloned() else { return fail("no_copy") };
                let Some(campaign) = campaigns.get(&touch.campaign_id).cloned() else { return fail("campaign_gone") };
                let products: Vec<Product> =
                    touch.product_ids.iter().filter_map(|p| products.get(&ProductId(*p))).take(MAX_MORE + 1).cloned().collect();
                if products.is_empty() {
                    return fail("no_product");
                }
                let domain = email.rsplit_once('@').map(|(_, d)| d.to_owned()).unwrap_or_default();
                let attempts = touch.attempts;
                (id, Verdict::Write(Ready { touch: id, attempts, domain, draft: Draft { touch, person, email, copy, products, campaign } }))
            })
            .collect())
    }
}

#[async_trait]
impl Compose for CampaignMail {
    type Draft = Draft;

    fn owned_by(&self, owner: &str) {
        let _ = self.owner.set(owner.to_owned());
    }

    async fn check(&self, touches: Vec<Touch>) -> anyhow::Result<Vec<(TouchId, Verdict<Ready<Draft>>)>> {
        let checked = campaign::recheck(&self.platform, &touches, self.platform.now()).await?;
        let mut by_id: HashMap<TouchId, Touch> = touches.into_iter().map(|t| (t.id, t)).collect();
        let mut answers = Vec::with_capacity(checked.len());
        let mut going = Vec::new();
        let mut contents = HashMap::new();
        for check in checked {
            let Some(touch) = by_id.remove(&check.id) else { continue };
            match check.outcome(touch.arm) {
                Some(outcome) => answers.push((touch.id, Verdict::End(outcome))),
                None => {
                    if let Some(content) = check.content {
                        contents.insert(touch.id, content);
                    }
                    going.push(touch);
                }
            }
        }
        let going = self.renew(going, contents).await?;
        answers.extend(self.drafts(going).await?);
        Ok(answers)
    }

    async fn write(&self, ready: Vec<Ready<Draft>>) -> anyhow::Result<Vec<(TouchId, Result<Mail, String>)>> {
        let (platform, sender, templates) = (self.platform.clone(), self.sender.clone(), self.templates.clone());
        // Rendering and signing are work for a processor, not for the tasks that wait for sockets.
        let written = tokio::task::spawn_blocking(move || {
            ready.into_par_iter().map(|one| (one.touch, write_one(&platform, &sender, &templates, &one))).collect()
        });
        Ok(written.await?)
    }
}

fn write_one(platform: &Platform, sender: &Sender, templates: &Templates, ready: &Ready<Draft>) -> Result<Mail, String> {
    let (config, signer) = (&platform.config, &platform.signer);
    let draft = &ready.draft;
    let touch = draft.touch.id;
    let mut views = draft.products.iter().zip(0_u8..).map(|(product, _)| {
        let slot = draft.touch.product_ids.iter().position(|p| *p == product.id.0).and_then(|i| u8::try_from(i).ok()).unwrap_or(0);
        ProductView::of(product, config, links::click_url(config, signer, touch, slot))
    });
    let Some(product) = views.next() else { return Err("no_product".into()) };
    let more: Vec<ProductView> = views.collect();
    let Some(price) = draft.products.first().map(Product::price_now) else { return Err("no_product".into()) };
    let name = draft.person.first_name.as_deref();
    let unsubscribe = links::unsubscribe_url(config, signer, touch);
    let context = MailContext {
        copy: draft.copy.copy.fill(name, price, draft.copy.locale),
        product,
        links: MailLinks {
            open: links::open_url(config, signer, touch),
            unsubscribe: unsubscribe.clone(),
            preferences: links::preferences_url(config, signer, touch),
        },
        locale: draft.copy.locale,
        more,
    };
    let named = named(draft);
    let rendered = match named.and_then(|name| templates.own.get(name)) {
        Some(own) => own.render(&context).map_err(|e| e.to_string())?,
        None => templates.built_in.render(kind_of(named, draft.products.len()), &context).map_err(|e| e.to_string())?,
    };
    let plan = &draft.campaign.plan;
    let built = sender
        .build(&Outgoing {
            touch,
            campaign: draft.touch.campaign_id,
            variant: draft.touch.variant_id,
            from: plan.sender.as_ref().map(|s| MailFrom { name: &s.name, address: &s.address, reply_to: s.reply_to.as_deref() }),
            to: &draft.email,
            to_name: name,
            subject: &rendered.subject,
            html: &rendered.html,
            text: &rendered.text,
            unsubscribe_url: &unsubscribe,
            at: platform.now(),
        })
        .map_err(|e| e.to_string())?;
    Ok(Mail { touch, attempts: ready.attempts, to: built.to, bytes: built.bytes })
}

/// The template that the variant names.
fn named(draft: &Draft) -> Option<&str> {
    draft.touch.variant_id.and_then(|id| draft.campaign.variant(id)).and_then(|v| v.variant.template.as_deref())
}

/// The built-in template of that name, else what fits the number of products.
fn kind_of(named: Option<&str>, products: usize) -> EmailKind {
    match named {
        Some("letter") => EmailKind::Letter,
        Some("hero") => EmailKind::Hero,
        Some("hero_more") => EmailKind::HeroMore,
        _ if products > 1 => EmailKind::HeroMore,
        _ => EmailKind::Hero,
    }
}
