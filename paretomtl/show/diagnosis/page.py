"""The report of a diagnosis as one HTML file that works without a network and without a script."""

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

from paretomtl.show.diagnosis import vectors
from paretomtl.show.diagnosis.facts import DiagnosisFacts, Difference, Factor, HeatMap, Panel
from paretomtl.show.diagnosis.vectors import escape

ABOUT_GAPS = (
    "Validation loss of the joint training less that of the task alone, where both have the same training loss. "
    "Below 0, training together generalises better. A thin line is a seed; the thick one is their mean, where all are "
    "defined."
)
ABOUT_DIFFERENCES = (
    "Together less alone: below 0, training together is better. The bar is the 95 % interval over seeds."
)
ABOUT_EFFECTS = (
    "Validation loss of the method less that of the joint training: below 0, the method is better. The bar is the 95 % "
    "interval over seeds."
)
ABOUT_FACTORS = (
    "Of each task over its trainings. A thin line is a seed; the thick one is their mean, where every seed has a "
    "value. The steps are equal, the losses at them are not."
)
ABOUT_AFFINITY = (
    "How much a step of the first task lowers the loss of the second, as a share of that loss and divided by the "
    "learning rate; above 0 it helps."
)


def write_page(facts: DiagnosisFacts) -> str:
    """Write the page as one text of HTML."""
    style = _read_asset("paretomtl.show.page", "page.css") + _read_asset("paretomtl.show.diagnosis", "page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    seeds = "one seed" if facts.seeds == 1 else f"{facts.seeds} seeds"
    parts = {
        "title": escape(f"What training together does to {_join(facts.names)}"),
        "count": f"{len(facts.names)} tasks, {seeds}: trained together, and each alone, from the same initial weights",
        "policy": f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'",
        "style": style,
        "sections": "\n".join(_list_sections(facts)),
    }
    # in one pass, so that a name that looks like a place to fill stays a name
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read_asset("paretomtl.show.diagnosis", "page.html"))


def _read_asset(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _join(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _list_sections(facts: DiagnosisFacts) -> list[str]:
    tasks = "".join(_write_task(one.task, one.verdict, one.differences) for one in facts.tasks)
    cosines = "" if facts.cosines is None else _write_heat_map(facts.cosines)
    sections = [
        _section("takeaway", "In short", f'<p class="finding">{escape(facts.summary)}</p>'),
        _section("tasks", "Each task", tasks + _note(ABOUT_DIFFERENCES)),
        _section("conflict", "Conflict of gradients", cosines + _list(facts.notes)),
    ]
    if facts.affinity is not None:
        groups = f"<h3>Groups to train together</h3>{_list(facts.groups)}" if facts.groups else ""
        sections.append(
            _section("affinity", "Affinity", _write_heat_map(facts.affinity) + _note(ABOUT_AFFINITY) + groups)
        )
    gaps = "".join(_write_panel(panel, "training loss", "gap", zero=True) for panel in facts.gaps)
    sections.append(
        _section("gaps", "The gap at equal training loss", f'<div class="panels">{gaps}</div>{_note(ABOUT_GAPS)}')
    )
    if facts.factors:
        kinds = '<ul class="legend"><li class="joint"><i></i>together</li><li class="alone"><i></i>alone</li></ul>'
        factors = "".join(map(_write_factor, facts.factors))
        sections.append(_section("factors", "Along the training", kinds + factors + _note(ABOUT_FACTORS)))
    if any(facts.effects.values()):
        effects = "".join(
            f"<h3>{escape(task)}</h3>{_write_forest(differences)}" for task, differences in facts.effects.items()
        )
        sections.append(_section("effects", "Other methods", effects + _note(ABOUT_EFFECTS)))
    return sections


def _section(id: str, title: str, content: str) -> str:
    return f'<section id="{id}" aria-labelledby="{id}-title">\n<h2 id="{id}-title">{title}</h2>\n{content}\n</section>'


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _list(sentences: Sequence[str]) -> str:
    rows = "".join(f"<li>{escape(text[:1].upper() + text[1:])}</li>" for text in sentences)
    return f'<ul class="notes">{rows}</ul>'


def _write_task(task: str, verdict: str, differences: Sequence[Difference]) -> str:
    said = verdict.removeprefix(f"{task}: ")
    return (
        f'<h3>{escape(task)}</h3><p class="verdict">{escape(said[:1].upper() + said[1:])}</p>'
        f"{_write_forest(differences)}"
    )


def _write_forest(differences: Sequence[Difference]) -> str:
    reach = vectors.find_reach(differences)
    rows = [
        f"<div><span>{escape(one.label)}</span>{vectors.draw_difference(one, reach)}<b>{escape(str(one))}</b></div>"
        for one in differences
    ]
    return f'<div class="forest">{"".join(rows)}</div>'


def _write_heat_map(heat: HeatMap) -> str:
    rows = [
        f"<div><span>{escape(strip.label)}</span>{vectors.draw_strip(heat, strip)}"
        f"<b>{vectors.format_mean(strip.mean)}</b></div>"
        for strip in heat.strips
    ]
    ends = f'<div class="ends"><p><span>step {heat.steps[0]}</span><span>{heat.steps[-1]}</span></p></div>'
    kinds = [("negative", f"{-heat.limit:.2g}"), ("positive", f"{heat.limit:+.2g}"), ("undefined", "undefined")]
    if all(value == value for strip in heat.strips for value in strip.values.tolist()):
        kinds.pop()
    legend = "".join(f'<li class="{kind}"><i></i>{text}</li>' for kind, text in kinds)
    about = f"The {heat.title} over the training, the mean over the seeds: the fainter, the nearer to 0. The number "
    about += "is the mean over the training."
    return f'{_note(about)}<ul class="legend">{legend}</ul><div class="heat">{"".join(rows)}{ends}</div>'


def _write_factor(factor: Factor) -> str:
    logarithmic = vectors.is_logarithmic(factor.panels)
    panels = "".join(_write_panel(panel, "step", factor.title, logarithmic=logarithmic) for panel in factor.panels)
    scale = " (logarithmic axis)" if logarithmic else ""
    return f'<h3>{escape(factor.title)}{scale}</h3><div class="panels">{panels}</div>'


def _write_panel(panel: Panel, abscissa: str, what: str, logarithmic: bool = False, zero: bool = False) -> str:
    note = f": {panel.note}" if panel.note else ""
    caption = f"<figcaption><strong>{escape(panel.title)}</strong>{escape(note)}</figcaption>"
    drawing = ""
    if panel.curves:
        drawing = vectors.draw_panel(panel, abscissa, f"{what} of {panel.title}", logarithmic, zero)
    return f"<figure>{caption}{drawing}</figure>"
