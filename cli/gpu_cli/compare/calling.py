"""What can be called in place of serving a model, and why something is not to be."""

from collections.abc import Iterator, Mapping

from gpu_cli.compare.catalogue import Catalogue, Listing, Match
from gpu_cli.compare.costs import PerToken
from gpu_cli.compare.options import Figure, Option, Source, Unused, Way
from gpu_cli.compare.price_table import RateLimits, Terms
from gpu_cli.compare.volume import Volume
from gpu_cli.recipe.schema import Privacy, Recipe
from gpu_cli.weights.source import Scheme

_WAYS: Mapping[Match, Way] = {
    Match.SAME: Way.CALL,
    Match.COMPARABLE: Way.CALL_OTHER,
    Match.REFERENCE: Way.REFERENCE,
}


def calling_options(catalogue: Catalogue, recipe: Recipe, volume: Volume) -> tuple[list[Option], list[Unused]]:
    """Every listing that the recipe's constraints allow, at the price of what they ask for; and all other APIs, with
    the reason.
    """
    options: list[Option] = []
    unused: list[Unused] = []
    model = recipe.model.location if recipe.model.scheme is Scheme.HUGGING_FACE else str(recipe.model)
    for listing in catalogue.listings(model):
        within = listing.within(recipe.regions)
        reason = why_not_private(listing.api.terms, recipe.privacy) or _too_long(listing, volume)
        if within and not reason:
            options.append(_option(within, recipe, volume))
        else:
            unused.append(Unused(f"{listing.provider} {listing.name}", reason or _elsewhere(listing, recipe)))
    unused.extend(Unused(provider, reason) for provider, reason in catalogue.without(model).items())
    return options, unused


def why_not_private(terms: Terms | None, privacy: Privacy) -> str:
    """What speaks against an API of these terms; empty where nothing does. What is not said is taken to be so."""
    if privacy is Privacy.ANY:
        return ""
    wanted = f"the recipe says privacy: {privacy}"
    if privacy is Privacy.DEDICATED:
        return f"its servers are shared, and {wanted}"
    broken = _may_train(terms) or (_may_keep(terms) if privacy is Privacy.NO_RETENTION else "")
    noted = f" ({terms.note})" if terms and terms.note else ""
    return f"{broken}{noted}, and {wanted}" if broken else ""


def _may_train(terms: Terms | None) -> str:
    trains = terms.trains_on_inputs if terms else None
    said = {None: "whether it trains on requests is not known", True: "it may train on requests", False: ""}
    return said[trains]


def _may_keep(terms: Terms | None) -> str:
    days = terms.retention_days if terms else None
    if days is None:
        return "how long it keeps requests is not known"
    return f"it may keep requests for {days} days" if days else ""


def _elsewhere(listing: Listing, recipe: Recipe) -> str:
    terms = listing.api.terms
    where = f"may answer in {', '.join(terms.regions)}" if terms and terms.regions else "does not say where it answers"
    return f"{where}, and the recipe keeps to {' or '.join(recipe.regions)}"


def _too_long(listing: Listing, volume: Volume) -> str:
    longest, tokens = listing.model.context, volume.input_tokens + volume.output_tokens
    if longest is None or tokens <= longest:
        return ""
    return f"takes {longest:,} tokens a request, and these have {tokens:,.0f}"


def _option(listing: Listing, recipe: Recipe, volume: Volume) -> Option:
    asked = listing.model.usd_per_million_tokens
    return Option(
        _WAYS[listing.match],
        listing.provider,
        listing.name,
        PerToken(asked.input, asked.output),
        Figure(Source.LIST_PRICE, listing.model.as_of),
        notes=tuple(_notes(listing, recipe, volume)),
        price_source=listing.model.source,
    )


def _notes(listing: Listing, recipe: Recipe, volume: Volume) -> Iterator[str]:
    model = listing.model
    if listing.match is Match.COMPARABLE:
        yield f"another model: {listing.why}"
    if model.note:
        yield model.note
    if model.context and recipe.context and model.context < recipe.context:
        yield f"takes {model.context:,} tokens a request, and the recipe {recipe.context:,}"
    if model.limits:
        yield from _over(model.limits, volume)


def _over(limits: RateLimits, volume: Volume) -> Iterator[str]:
    """What the busiest hour would need more of."""
    requests = 60 * volume.peak * volume.requests_per_s
    tokens = requests * (volume.input_tokens + volume.output_tokens)
    for allowed, asked, what in (
        (limits.requests_per_minute, requests, "requests"),
        (limits.tokens_per_minute, tokens, "tokens"),
    ):
        if allowed is not None and asked > allowed:
            yield f"takes {allowed:,} {what} a minute ({limits.tier}), and the busiest hour has {asked:,.0f}"
