"""The sentence: what is wrong, since when, how unusual, which sensors, how long is left.

Templates per language, filled from an alert's own numbers; no language model, no clock, no files.
The operator reads this line and nothing else, so it
names the machine first and never a detector.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from anomaly.batches import Contribution

#: Languages there are templates for.
LANGUAGES = ("en", "de", "es", "zh")

#: Most sensors named in a sentence; more is a list, not a sentence.
NAMED_SENSORS = 3

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "level": "{asset}: {lead} is off its usual level",
        "drift": "{asset}: {lead} is drifting away from its usual level",
        "pattern": "{asset}: {lead} moves in a way not seen before",
        "forecast": "{asset}: {lead} does not follow its own recent course",
        "coupling": "{asset}: {lead} no longer fits the other sensors",
        "rate": "{asset}: {lead} counts more than usual",
        "sensor_fault": "{asset}: sensor {lead} looks faulty ({cause}), not the machine",
        "data_gap": "{asset}: no data arrived for {gap}",
        "stop_expected": "{asset}: an interruption is expected in about {left}. They come at equal "
                         "intervals, the last one {since}; it may be a planned service",
        "since": " since {since}",
        "value": " ({actual} where {expected} is expected{percent})",
        "along": "; together with {others}",
        "rarity": ". When healthy this happens about once in {period}",
        "left": ". Time left: about {p50}, between {p10} and {p90}",
        "ruled_out": ". Ruled out: frozen or missing sensor",
        "resolved": "{asset}: the alert on {lead} that began {since} is over",
        "gap_over": "{asset}: data arrive again; nothing had come since {since}",
        "stop_over": "{asset}: the interruption expected after that of {since} has come, or is "
                     "overdue",
        "stuck": "it repeats the same value", "silent": "it sends nothing",
        "slow_cycle": "{asset}: cycle time {actual} s against {expected} s since {since}{percent}",
        "rate_after_changeover": "{asset}: slower since the changeover, cycle time {actual} s "
                                 "against {expected} s since {since}{percent}",
        "micro_stops": "{asset}: short stops in {actual} of 100 cycles against {expected} "
                       "since {since}",
        "energy_per_part": "{asset}: energy per part {actual}{unit} against {expected}{unit} "
                           "since {since}{percent}",
        "rejects": "{asset}: {actual} of 100 parts rejected against {expected} since {since}",
        "idle_energy": "{asset}: draws {actual}{unit} while it stands still against "
                       "{expected}{unit} since {since}{percent}",
        "bottleneck": "{asset}: now the bottleneck of the line, before it was {lead}, since "
                      "{since}; that others starve or are blocked is its effect",
        "cost": ", costs about {cost} a shift", "parts": "{n} parts",
        "loss_over": "{asset}: the loss that began {since} is over ({what})",
        "what.slow_cycle": "cycle time", "what.micro_stops": "short stops",
        "what.energy_per_part": "energy per part", "what.rejects": "rejects",
        "what.idle_energy": "power at rest", "what.rate_after_changeover": "rate after changeover",
        "what.bottleneck": "bottleneck",
        "until": "Time left until {sensor} reaches {limit}: about {p50}, between {p10} and "
                 "{p90}{stop}.",
        "stop_no": "; the next planned stop is in {stop}: it will not last",
        "stop_yes": "; the next planned stop is in {stop}: it should last",
        "stop_uncertain": "; the next planned stop is in {stop}: it may not last",
        "and": " and ", "over": "longer than recorded history supports",
        "units": "s|min|h|days|weeks|months|years",
    },
    "de": {
        "level": "{asset}: {lead} liegt außerhalb des üblichen Niveaus",
        "drift": "{asset}: {lead} entfernt sich langsam vom üblichen Niveau",
        "pattern": "{asset}: {lead} verläuft wie nie zuvor gesehen",
        "forecast": "{asset}: {lead} folgt nicht dem eigenen bisherigen Verlauf",
        "coupling": "{asset}: {lead} passt nicht mehr zu den anderen Sensoren",
        "rate": "{asset}: {lead} zählt mehr als üblich",
        "sensor_fault": "{asset}: Sensor {lead} scheint defekt ({cause}), nicht die Maschine",
        "data_gap": "{asset}: seit {gap} kamen keine Daten",
        "stop_expected": "{asset}: in etwa {left} wird eine Unterbrechung erwartet. Sie kommen in "
                         "gleichen Abständen, die letzte {since}; es kann ein geplanter Service "
                         "sein",
        "since": " seit {since}",
        "value": " ({actual} statt erwarteter {expected}{percent})",
        "along": "; zusammen mit {others}",
        "rarity": ". Bei gesunder Maschine kommt das etwa einmal in {period} vor",
        "left": ". Verbleibende Zeit: etwa {p50}, zwischen {p10} und {p90}",
        "ruled_out": ". Ausgeschlossen: eingefrorener oder fehlender Sensor",
        "resolved": "{asset}: der Alarm zu {lead}, der {since} begann, ist vorbei",
        "gap_over": "{asset}: es kommen wieder Daten; seit {since} war nichts gekommen",
        "stop_over": "{asset}: die nach {since} erwartete Unterbrechung ist gekommen oder "
                     "überfällig",
        "stuck": "er wiederholt denselben Wert", "silent": "er sendet nichts",
        "slow_cycle": "{asset}: Zykluszeit {actual} s statt {expected} s seit {since}{percent}",
        "rate_after_changeover": "{asset}: langsamer seit dem Rüsten, Zykluszeit {actual} s "
                                 "statt {expected} s seit {since}{percent}",
        "micro_stops": "{asset}: kurze Stopps in {actual} von 100 Zyklen statt {expected} "
                       "seit {since}",
        "energy_per_part": "{asset}: Energie je Teil {actual}{unit} statt {expected}{unit} "
                           "seit {since}{percent}",
        "rejects": "{asset}: {actual} von 100 Teilen Ausschuss statt {expected} seit {since}",
        "idle_energy": "{asset}: zieht im Stillstand {actual}{unit} statt {expected}{unit} "
                       "seit {since}{percent}",
        "bottleneck": "{asset}: jetzt der Engpass der Linie, zuvor {lead}, seit {since}; dass "
                      "andere leer laufen oder blockiert sind, ist seine Folge",
        "cost": ", kostet etwa {cost} je Schicht", "parts": "{n} Teile",
        "loss_over": "{asset}: der Verlust, der {since} begann, ist vorbei ({what})",
        "what.slow_cycle": "Zykluszeit", "what.micro_stops": "kurze Stopps",
        "what.energy_per_part": "Energie je Teil", "what.rejects": "Ausschuss",
        "what.idle_energy": "Leistung im Stillstand",
        "what.rate_after_changeover": "Takt nach dem Rüsten", "what.bottleneck": "Engpass",
        "until": "Bis {sensor} {limit} erreicht, bleiben etwa {p50}, zwischen {p10} und "
                 "{p90}{stop}.",
        "stop_no": "; der nächste geplante Halt ist in {stop}: so lange hält es nicht",
        "stop_yes": "; der nächste geplante Halt ist in {stop}: bis dahin sollte es halten",
        "stop_uncertain": "; der nächste geplante Halt ist in {stop}: vielleicht hält es nicht",
        "and": " und ", "over": "mehr als die Aufzeichnung belegt",
        "units": "s|min|h|Tagen|Wochen|Monaten|Jahren",
    },
    "es": {
        "level": "{asset}: {lead} está fuera de su nivel habitual",
        "drift": "{asset}: {lead} se aleja poco a poco de su nivel habitual",
        "pattern": "{asset}: {lead} se mueve de una forma nunca vista",
        "forecast": "{asset}: {lead} no sigue su propio curso reciente",
        "coupling": "{asset}: {lead} ya no concuerda con los demás sensores",
        "rate": "{asset}: {lead} cuenta más de lo habitual",
        "sensor_fault": "{asset}: el sensor {lead} parece averiado ({cause}), no la máquina",
        "data_gap": "{asset}: no llegan datos desde hace {gap}",
        "stop_expected": "{asset}: se espera una interrupción en unos {left}. Llegan a intervalos "
                         "iguales, la última {since}; puede ser un servicio previsto",
        "since": " desde {since}",
        "value": " ({actual} donde se espera {expected}{percent})",
        "along": "; junto con {others}",
        "rarity": ". Con la máquina sana ocurre más o menos una vez en {period}",
        "left": ". Tiempo restante: unos {p50}, entre {p10} y {p90}",
        "ruled_out": ". Descartado: sensor congelado o ausente",
        "resolved": "{asset}: terminó la alerta sobre {lead} que empezó {since}",
        "gap_over": "{asset}: vuelven a llegar datos; no llegaba nada desde {since}",
        "stop_over": "{asset}: la interrupción esperada tras la de {since} ha llegado o se retrasa",
        "stuck": "repite el mismo valor", "silent": "no envía nada",
        "slow_cycle": "{asset}: tiempo de ciclo {actual} s frente a {expected} s desde "
                      "{since}{percent}",
        "rate_after_changeover": "{asset}: más lenta desde el cambio de producto, tiempo de ciclo "
                                 "{actual} s frente a {expected} s desde {since}{percent}",
        "micro_stops": "{asset}: paradas cortas en {actual} de cada 100 ciclos frente a {expected} "
                       "desde {since}",
        "energy_per_part": "{asset}: energía por pieza {actual}{unit} frente a {expected}{unit} "
                           "desde {since}{percent}",
        "rejects": "{asset}: {actual} de cada 100 piezas rechazadas frente a {expected} desde "
                   "{since}",
        "idle_energy": "{asset}: consume {actual}{unit} parada frente a {expected}{unit} desde "
                       "{since}{percent}",
        "bottleneck": "{asset}: ahora es el cuello de botella de la línea, antes era {lead}, desde "
                      "{since}; que otras esperen o se bloqueen es su efecto",
        "cost": ", cuesta unas {cost} por turno", "parts": "{n} piezas",
        "loss_over": "{asset}: terminó la pérdida que empezó {since} ({what})",
        "what.slow_cycle": "tiempo de ciclo", "what.micro_stops": "paradas cortas",
        "what.energy_per_part": "energía por pieza", "what.rejects": "rechazos",
        "what.idle_energy": "consumo en reposo",
        "what.rate_after_changeover": "ritmo tras el cambio",
        "what.bottleneck": "cuello de botella",
        "until": "Hasta que {sensor} llegue a {limit} quedan unos {p50}, entre {p10} y "
                 "{p90}{stop}.",
        "stop_no": "; la próxima parada prevista es en {stop}: no durará tanto",
        "stop_yes": "; la próxima parada prevista es en {stop}: debería durar",
        "stop_uncertain": "; la próxima parada prevista es en {stop}: puede que no dure",
        "and": " y ", "over": "más de lo que avala el historial",
        "units": "s|min|h|días|semanas|meses|años",
    },
    "zh": {
        "level": "{asset}:{lead} 偏离了正常水平",
        "drift": "{asset}:{lead} 正在缓慢偏离正常水平",
        "pattern": "{asset}:{lead} 出现了从未见过的变化形态",
        "forecast": "{asset}:{lead} 没有沿着自身近期的走势变化",
        "coupling": "{asset}:{lead} 与其他传感器不再吻合",
        "rate": "{asset}:{lead} 的计数高于平常",
        "sensor_fault": "{asset}:传感器 {lead} 疑似故障({cause}),而非机器故障",
        "data_gap": "{asset}:已有 {gap} 没有收到数据",
        "stop_expected": "{asset}:预计约 {left} 后会出现一次中断。此类中断间隔相等,上一次在 "
                         "{since};可能是计划内的保养",
        "since": ",自 {since} 起",
        "value": "(实际 {actual},预期 {expected}{percent})",
        "along": ";同时涉及 {others}",
        "rarity": "。健康状态下大约每 {period} 才会出现一次",
        "left": "。剩余时间约 {p50},介于 {p10} 与 {p90} 之间",
        "ruled_out": "。已排除:传感器卡死或缺失",
        "resolved": "{asset}:{since} 开始的关于 {lead} 的警报已结束",
        "gap_over": "{asset}:数据已恢复;自 {since} 起曾没有数据",
        "stop_over": "{asset}:继 {since} 之后预计的中断已经出现,或已逾期",
        "stuck": "数值一直不变", "silent": "没有发送数据",
        "slow_cycle": "{asset}:自 {since} 起节拍为 {actual} 秒,原为 {expected} 秒{percent}",
        "rate_after_changeover": "{asset}:换产后变慢,自 {since} 起节拍为 {actual} 秒,"
                                 "原为 {expected} 秒{percent}",
        "micro_stops": "{asset}:自 {since} 起每 100 个循环有 {actual} 个短停,原为 {expected} 个",
        "energy_per_part": "{asset}:自 {since} 起单件能耗为 {actual}{unit},"
                           "原为 {expected}{unit}{percent}",
        "rejects": "{asset}:自 {since} 起每 100 件有 {actual} 件不合格,原为 {expected} 件",
        "idle_energy": "{asset}:自 {since} 起停机时功率为 {actual}{unit},"
                       "原为 {expected}{unit}{percent}",
        "bottleneck": "{asset}:自 {since} 起成为产线瓶颈,此前为 {lead};其他工位缺料或堵料由此引起",
        "cost": ",每班约损失 {cost}", "parts": "{n} 件",
        "loss_over": "{asset}:{since} 开始的损失已结束({what})",
        "what.slow_cycle": "节拍", "what.micro_stops": "短停", "what.energy_per_part": "单件能耗",
        "what.rejects": "不合格", "what.idle_energy": "停机功率",
        "what.rate_after_changeover": "换产后速度", "what.bottleneck": "瓶颈",
        "until": "{sensor} 到达 {limit} 还剩约 {p50},介于 {p10} 与 {p90} 之间{stop}。",
        "stop_no": ";下一次计划停机在 {stop} 后:撑不到那时",
        "stop_yes": ";下一次计划停机在 {stop} 后:应能撑到那时",
        "stop_uncertain": ";下一次计划停机在 {stop} 后:可能撑不到那时",
        "and": "、", "over": "超出历史记录所能支持的时间",
        "units": "秒|分钟|小时|天|周|个月|年",
    },
}

#: How the end of these kinds is told; of all others as ``resolved``.
_OVER = {"data_gap": "gap_over", "stop_expected": "stop_over"}

#: Return periods beyond this are not claimed in words (1,000 years).
_CLAIM_LIMIT_SECONDS = 1000 * 365.25 * 86400

_UNIT_SECONDS = (1.0, 60.0, 3600.0, 86400.0, 604800.0, 2629800.0, 31557600.0)
#: A unit is used from this many of it on, so that "90 min" does not become "1.5 h" too early.
_UNIT_FROM_SECONDS = (0.0, 120.0, 7200.0, 172800.0, 1209600.0, 5259600.0, 63115200.0)


def sentence(
    language: str,
    kind: str,
    state: str,
    asset: str,
    onset_ns: int,
    return_period_seconds: float,
    contributions: Sequence[Contribution],
    time_left_seconds: tuple[float, float, float] | None = None,
    cause: str = "",
    gap_seconds: float = math.nan,
) -> str:
    """One plain sentence for one transition, in ``language`` (one of :data:`LANGUAGES`)."""
    words = _WORDS[language]
    named = [c.sensor for c in contributions[:NAMED_SENSORS]]
    lead = named[0] if named else "—"
    since = moment(onset_ns)
    if state == "resolved":
        over = words[_OVER.get(kind, "resolved")]
        return over.format(asset=asset, lead=lead, since=since) + "."
    if kind == "stop_expected":
        left = span(time_left_seconds[1], language) if time_left_seconds else "—"
        return words[kind].format(asset=asset, left=left, since=since) + (
            "。" if language == "zh" else ".")
    text = words[kind].format(
        asset=asset, lead=lead, cause=words.get(cause, cause), gap=span(gap_seconds, language)
    )
    if kind == "data_gap":
        return text + "."
    text += words["since"].format(since=since)
    if contributions and kind != "sensor_fault":
        text += _value(words, contributions[0])
    if len(named) > 1:
        text += words["along"].format(others=words["and"].join(named[1:]))
    if return_period_seconds == return_period_seconds and kind != "sensor_fault":
        text += words["rarity"].format(period=span(return_period_seconds, language))
    if time_left_seconds is not None:
        p10, p50, p90 = (span(s, language) for s in time_left_seconds)
        text += words["left"].format(p10=p10, p50=p50, p90=p90)
    if kind != "sensor_fault":
        text += words["ruled_out"]
    return text + ("。" if language == "zh" else ".")


def loss_sentence(
    language: str, kind: str, state: str, asset: str, since_ns: int, expected: float,
    actual: float, cycle_seconds: float, unit: str = "", shift_seconds: float = 28_800.0,
    before: str = "",
) -> str:
    """One plain sentence for a loss that began or is over.

    ``expected`` and ``actual`` as in ``inefficiency.FINDING``; ``unit`` of an energy, else empty;
    ``before`` is the machine that was the bottleneck. What it costs is counted over a shift.
    """
    words = _WORDS[language]
    end = "。" if language == "zh" else "."
    since = moment(since_ns)
    if state == "resolved":
        return words["loss_over"].format(
            asset=asset, since=since, what=words[f"what.{kind}"]) + end
    change = actual / expected - 1.0 if expected else math.nan
    percent = "" if change != change else f" ({change:+.1%})".replace("%", " %")
    scale = 100.0 if kind in ("micro_stops", "rejects") else 1.0
    text = words[kind].format(
        asset=asset, since=since, percent=percent, lead=before,
        unit=f" {unit}h" if unit and kind == "energy_per_part" else f" {unit}" if unit else "",
        expected=_pair(scale * expected, scale * actual),
        actual=_pair(scale * actual, scale * expected))
    made = shift_seconds / cycle_seconds if cycle_seconds > 0.0 else math.nan
    cost = ""
    if kind in ("slow_cycle", "rate_after_changeover"):
        made = shift_seconds / expected - shift_seconds / actual
        cost = words["parts"].format(n=round(made)) if made >= 0.5 else ""
    elif kind == "rejects" and made * (actual - expected) >= 0.5:
        cost = words["parts"].format(n=round(made * (actual - expected)))
    elif kind == "energy_per_part" and unit and made == made:
        cost = f"{quantity(float(f'{made * (actual - expected):.2g}'))} {unit}h"
    if cost:
        text += words["cost"].format(cost=cost)
    return text + end


def outlook_sentence(
    language: str, sensor: str, limit: float, time_left_seconds: tuple[float, float, float],
    stop_seconds: float = math.nan, lasts: str = "",
) -> str:
    """How long until the limit, and whether that is beyond the next planned stop.

    ``lasts`` is ``yes``, ``no`` or ``uncertain``; empty where no stop is planned.
    """
    words = _WORDS[language]
    p10, p50, p90 = (span(s, language) for s in time_left_seconds)
    stop = words[f"stop_{lasts}"].format(stop=span(stop_seconds, language)) if lasts else ""
    return words["until"].format(
        sensor=sensor, limit=quantity(limit), p10=p10, p50=p50, p90=p90, stop=stop)


def retold_loss(
    text: str, kind: str, state: str, asset: str, since_ns: int, language: str, other: str
) -> str | None:
    """A sentence of :func:`loss_sentence` in another language, from the sentence alone.

    What it cost is in no field of an alert, so the numbers are taken out of the sentence by its own
    template; None where no template gives it.
    """
    words, wanted = _WORDS[language], _WORDS[other]
    end, new_end = ("。" if one == "zh" else "." for one in (language, other))
    if kind not in words or not text.endswith(end):
        return None
    name = "loss_over" if state == "resolved" else kind
    pattern = _pattern(words[name], asset=asset, since=moment(since_ns))
    if state != "resolved":
        pattern += f"(?:{_pattern(words['cost'])})?"
    found = re.fullmatch(pattern, text.removesuffix(end))
    if found is None:
        return None
    fields = {key: value or "" for key, value in found.groupdict().items()} | {
        "what": wanted[f"what.{kind}"]}
    told = wanted[name].format(**fields)
    if fields.get("cost"):
        parts = re.fullmatch(_pattern(words["parts"]), fields["cost"])
        cost = fields["cost"] if parts is None else wanted["parts"].format(n=parts["n"])
        told += wanted["cost"].format(cost=cost)
    return told + new_end


def retold_outlook(
    text: str, time_left_seconds: tuple[float, float, float], language: str, other: str
) -> str | None:
    """A text of :func:`outlook_sentence` in another language; None where no template gives it."""
    words, wanted = _WORDS[language], _WORDS[other]
    ends = dict(zip(("p10", "p50", "p90"), time_left_seconds, strict=True))
    found = re.fullmatch(_pattern(
        words["until"], **{name: span(end, language) for name, end in ends.items()}), text)
    if found is None:
        return None
    stop = ""
    for name in ("stop_yes", "stop_no", "stop_uncertain"):
        said = re.fullmatch(_pattern(words[name]), found["stop"])
        if said is not None:
            stop = wanted[name].format(stop=_retold_span(said["stop"], language, other))
    if bool(stop) != bool(found["stop"]):
        return None
    return wanted["until"].format(
        sensor=found["sensor"], limit=found["limit"], stop=stop,
        **{name: span(end, other) for name, end in ends.items()})


def _retold_span(text: str, language: str, other: str) -> str:
    amount, _, unit = text.partition(" ")
    units = _WORDS[language]["units"].split("|")
    if unit not in units:
        return _WORDS[other]["over"]
    return f"{amount} {_WORDS[other]['units'].split('|')[units.index(unit)]}"


#: Fields that stand beside one another with a blank only: a sensor may have blanks, a limit none.
_FIELDS = {"sensor": ".+", "limit": r"\S+"}


def _pattern(template: str, **known: str) -> str:
    """A regular expression for what a template gives; the same field twice is the same text."""
    parts, seen = [], set()
    for literal, field, _, _ in string.Formatter().parse(template):
        parts.append(re.escape(literal))
        if field is not None:
            what = re.escape(known[field]) if field in known else _FIELDS.get(field, ".*?")
            parts.append(f"(?P={field})" if field in seen else f"(?P<{field}>{what})")
            seen.add(field)
    return "".join(parts)


def _pair(value: float, other: float) -> str:
    """A value with the decimals that tell it from the one it stands beside; 3 digits at least."""
    if value != value or other != other:
        return quantity(value)
    gap = max(abs(value - other), 1e-12)
    decimals = max(0, 2 - _exponent(max(abs(value), 1e-12)), -_exponent(gap))
    return f"{value:.{min(decimals, 6)}f}"


def moment(time_ns: int) -> str:
    """``2026-03-03 14:05 UTC``: minutes are enough to find it, the record has the nanoseconds."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def span(seconds: float, language: str = "en") -> str:
    """A duration with one unit and at most two significant digits: ``40 min``, ``4 months``."""
    words = _WORDS[language]
    if not seconds < _CLAIM_LIMIT_SECONDS:
        return words["over"]
    units = words["units"].split("|")
    chosen = max(i for i, start in enumerate(_UNIT_FROM_SECONDS) if seconds >= start or i == 0)
    amount = seconds / _UNIT_SECONDS[chosen]
    digits = 0 if amount >= 10 else 1
    text = f"{amount:.{digits}f}"
    if text.endswith(".0"):
        text = text[:-2]
    return f"{text} {units[chosen]}"


def quantity(value: float) -> str:
    """A sensor value with four significant digits and no exponent where a person reads none."""
    if value != value:
        return "—"
    if value == 0.0 or 1e-4 <= abs(value) < 1e7:
        decimals = 0 if abs(value) >= 1000 else max(0, 3 - _exponent(value))
        text = f"{value:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3e}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _value(words: Mapping[str, str], lead: Contribution) -> str:
    if lead.actual != lead.actual or lead.expected != lead.expected:
        return ""
    percent = ""
    change = lead.actual - lead.expected
    if lead.expected and 0.005 <= abs(change / lead.expected) < 10:
        percent = f", {change / abs(lead.expected):+.0%}".replace("%", " %")
    # Smoothed, a sensor that says nought approaches it for ever.
    actual = lead.actual if abs(lead.actual) > 1e-6 * abs(lead.expected) else 0.0
    return words["value"].format(
        actual=quantity(actual), expected=quantity(lead.expected), percent=percent
    )
