"""Serving and retraining of one model: where it is served, on what, how many, and where it is retrained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from infra.design.bill import NOTHING, requests, trainings
from infra.design.decisions import Chooser, Obstacle, Option
from infra.design.layers.cluster import GPU_TYPE
from infra.design.price_book import PriceBook
from infra.design.queueing import highest_rate
from spec.objectives import Availability, ModelObjectives, Objectives, Target
from spec.steps import before_people_agree

# One vCPU of a serving instance answers at least this many single-row requests a second with ONNX Runtime.
# Deliberately low compared with what bench/ measures, so that a design also works for models ten times larger.
REQUESTS_PER_SECOND_PER_VCPU = 100
REQUESTS_PER_SECOND_PER_GPU = 1_000
# What each way of serving adds to the model's own time, at the 95th percentile, ms.
EDGE_LATENCY_MS = 1  # in the device's own process
CLUSTER_LATENCY_MS = 10  # a load balancer and a sidecar in the same network
REALTIME_LATENCY_MS = 30  # SageMaker's public API, authentication, the container
SERVERLESS_LATENCY_MS = 4_000  # a cold start of a container with a scientific Python environment
BATCH_LATENCY_MS = 3_600_000  # an hourly transform job
DAILY_LATENCY_MS = 90_000_000  # a day, and an hour for the job itself
FRONT_END_LATENCY_MS = 20  # API Gateway: the token, the firewall, one more hop
HOURLY, JOB_HOURS = "rate(1 hour)", 0.05  # three minutes of an instance, most of which is its start
DAY_OF_ROWS_HOURS = 0.1
CANARY_STEPS = (5, 25)  # percent
# Starting a SageMaker processing job, and the steps' own work in total (45 s for the small example here), minutes.
JOB_START_MINUTES, WORK_MINUTES = 3.0, 2.0
SPOT_LEAST_MINUTES = 30.0  # less leaves no time to wait for spare capacity, and to begin again from a checkpoint
POD_START_MINUTES = 0.5  # on a node that already exists
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_MINUTES, LAMBDA_GB = 15.0, 10.0
LAMBDA_START_MINUTES = 1.0  # an image of gigabytes, for the first time
LAMBDA_LEAST_GB = 4.0  # two CPUs; a function's CPUs come with its memory
# A function may be half as fast as what measured it, and data grow.
LAMBDA_SLOWER, LAMBDA_LARGER = 2.0, 1.5
JOB_TYPE = "ml.m5.large"  # of a pipeline's steps
RELEASES = 30  # times a month that what two people have approved is deployed
# Peak, hot spots and one instance failing: the load that instances are planned for, relative to their capacity.
UTILISATION = 0.7

INSTANCES = (
    ("ml.c5.large", 2, False),
    ("ml.c5.xlarge", 4, False),
    ("ml.m5.large", 2, False),
    ("ml.g4dn.xlarge", 4, True),
    ("ml.g5.xlarge", 4, True),
)


@dataclass(frozen=True)
class ServingDesign:
    """How one model is served.

    Attributes:
        topology: realtime, serverless, batch (SageMaker), cluster (KServe on CPU), cluster-gpu (KServe with Triton),
            edge.
        instance_type: SageMaker's, or the node's; empty where there is none.
        min_instances: Instances or replicas that always run, and
        max_instances: the most that autoscaling may start.
        canary_steps: Percent of the traffic that a new version gets, step by step, before it gets all of it; empty
            where there is one version at a time.
        target_invocations_per_minute: Load of one instance at which autoscaling adds another.
        schedule: Of batch jobs, as EventBridge Scheduler writes it; empty where there are none.
        timezone: Of the schedule; empty for UTC.
    """

    topology: str
    instance_type: str
    min_instances: int
    max_instances: int
    canary_steps: tuple[int, ...]
    target_invocations_per_minute: int
    schedule: str = ""
    timezone: str = ""


@dataclass(frozen=True)
class RetrainingDesign:
    """Where a model is retrained.

    Attributes:
        kind: sagemaker-pipeline, cluster-job or lambda.
        memory_mb: The function's.
        spot_minutes: How long a SageMaker training on spare capacity may take, its waits included; 0 where there is no
            time to wait.
    """

    kind: str
    every_hours: float
    memory_mb: int = 0
    spot_minutes: float = 0


def serving(name: str, objectives: Objectives, prices: PriceBook, chooser: Chooser) -> ServingDesign:
    """The cheapest way to serve within the model's latency."""
    model = objectives.models[name]
    rate = model.requests_per_second
    forced = [
        f"models.{name}.latency_ms: {model.latency_ms:.12g}",
        f"models.{name}.requests_per_second: {rate.average:g} to {rate.peak:g}",
    ]
    if name in objectives.front_end_models:
        forced.append("front_end.models")
    if model.service_ms is not None:
        forced.append(f"models.{name}.service_ms: {model.service_ms:g}")
    forced += [
        f"models.{name}.{what}"
        for what, asked in (("gpu: true", model.gpu), ("target: edge", model.target is Target.EDGE))
        if asked
    ]
    options = list(_options(name, model, objectives, prices))
    chosen = chooser.choose(
        f"serving {name}",
        options,
        tuple(forced),
        f"{rate.peak:g} requests a second at peak, within {model.latency_ms:,.12g} ms",
        model=name,
    )
    canary, told = model.canary, f"models.{name}.canary"
    chooser.note(
        f"new versions of {name}",
        _promotion(chosen, shadow=canary.shadow),
        (
            *([f"{told}.shadow: true"] if canary.shadow else []),
            *(
                [f"{told}.requests: {canary.requests}", f"{told}.wait_minutes: {canary.wait_minutes:g}"]
                if canary.requests
                else [f"models.{name}.quality.may_lose: {model.quality.may_lose:g}"]
            ),
        ),
        _waiting(chosen, model),
        NOTHING,
    )
    return chosen


def _promotion(chosen: ServingDesign, *, shadow: bool) -> str:
    if not chosen.canary_steps:
        return "compared on held-out rows, then served at once"
    steps = ", ".join(f"{percent} %" for percent in chosen.canary_steps)
    return f"{'copies of requests first, then ' if shadow else ''}{steps}, then all requests"


def _waiting(chosen: ServingDesign, model: ModelObjectives) -> str:
    """How long users' requests will be waited for, in words."""
    wanted, rate = model.canary, model.requests_per_second.average
    if not chosen.canary_steps:
        says = "there is one version at a time, and none is served that was not compared"
        return says + ("; none can wait for requests of users" if wanted.requests else "")
    if not wanted.requests:
        return "judged on requests of the pipeline's own, whatever users ask"
    each = wanted.requests / len(chosen.canary_steps)
    minutes = sum(each / (rate * percent / 100) / 60 for percent in chosen.canary_steps)
    found = f"{wanted.requests} requests of users take about {minutes:,.1f} minutes at {rate:g} a second"
    return (
        found if minutes <= wanted.wait_minutes else f"{found}, longer than it may wait: a person will have to decide"
    )


def _options(
    name: str, model: ModelObjectives, objectives: Objectives, prices: PriceBook
) -> Iterator[Option[ServingDesign]]:
    rate, spread = model.requests_per_second, objectives.availability is not Availability.ONE_ZONE
    called_by_pages = name in objectives.front_end_models

    def obstacles(
        adds_ms: float,
        by: str,
        *,
        gpu: bool = False,
        edge: bool = False,
        explains: bool = True,
        canary: bool = True,
        pages: bool = False,
        variants: bool = False,
        more: Obstacle | None = None,
    ) -> tuple[Obstacle, ...]:
        found = [more] if more else []
        if called_by_pages and pages:
            adds_ms, by = adds_ms + FRONT_END_LATENCY_MS, f"API Gateway, {by}"
        elif called_by_pages:
            others = [one for one in objectives.front_end_models if one != name]
            where, without = ("front_end.models", f"[{', '.join(others)}]") if others else ("front_end", "null")
            found.append(Obstacle("API Gateway, through which pages call, can't reach it", where, without))
        if edge != (model.target is Target.EDGE):
            found.append(
                Obstacle(f"target: {model.target} is requested", f"models.{name}.target", "edge" if edge else "cloud")
            )
        if model.latency_ms <= adds_ms + (model.service_ms or 0) and model.service_ms:
            found.append(
                Obstacle(
                    f"{by} and the model take about {adds_ms + model.service_ms:,g} ms",
                    f"models.{name}.latency_ms",
                    adds_ms + model.service_ms + 1,
                    model.latency_ms,
                )
            )
        elif model.latency_ms < adds_ms:
            found.append(
                Obstacle(
                    f"{by} take{'s' if ' and ' not in by else ''} about {adds_ms:,} ms",
                    f"models.{name}.latency_ms",
                    adds_ms,
                    model.latency_ms,
                )
            )
        if gpu != model.gpu:
            found.append(
                Obstacle(
                    "has no GPU" if model.gpu else "has a GPU, which the model does not need", f"models.{name}.gpu", gpu
                )
            )
        if model.explanations and not explains:
            found.append(Obstacle("can't explain a prediction on request", f"models.{name}.explanations", False))
        if model.canary.shadow and not variants:
            found.append(
                Obstacle("has one version at a time, and no shadow of it", f"models.{name}.canary.shadow", False)
            )
        if objectives.production and not canary:
            found.append(
                Obstacle(
                    "switches to a new version at once, and production requires a canary", "environment", "staging"
                )
            )
        return tuple(found)

    yield Option(
        "on the device (ONNX)",
        prices.per_unit("s3", "get", 1),
        ServingDesign("edge", "", 0, 0, (), 0),
        obstacles(EDGE_LATENCY_MS, "the device", edge=True, gpu=model.gpu, explains=False, canary=True),
    )
    yield Option(
        "hourly batch transform",
        prices.per_unit("sagemaker", "ml.m5.large", 24 * 30 * JOB_HOURS),
        ServingDesign("batch", "ml.m5.large", 0, 1, (), 0, HOURLY),
        obstacles(BATCH_LATENCY_MS, "an hourly job", explains=False),
    )
    if quiet := objectives.off_peak:
        yield Option(
            f"daily batch transform, off peak at {quiet.start}:00 {quiet.timezone}",
            prices.per_unit("sagemaker", "ml.m5.large", 30 * DAY_OF_ROWS_HOURS),
            ServingDesign("batch", "ml.m5.large", 0, 1, (), 0, f"cron(0 {quiet.start} * * ? *)", quiet.timezone),
            obstacles(DAILY_LATENCY_MS, "a daily job", explains=False),
        )
    # 2 GB, 50 ms a request.
    concurrency = max(1, math.ceil(rate.peak * 0.05))
    too_many = (
        Obstacle("answers at most 200 requests at once", f"models.{name}.requests_per_second.peak", 200 / 0.05)
        if concurrency > 200
        else None
    )
    yield Option(
        f"SageMaker serverless, up to {concurrency} at once",
        prices.per_unit("sagemaker", "serverless-inference", 2 * rate.average * 86_400 * 30 * 0.05, requests(name)),
        ServingDesign("serverless", "", 0, concurrency, (), 0),
        obstacles(SERVERLESS_LATENCY_MS, "a cold start", canary=False, pages=True, more=too_many),
    )
    adds_ms = REALTIME_LATENCY_MS + (FRONT_END_LATENCY_MS if called_by_pages else 0)
    for instance, vcpus, gpu in INSTANCES:
        capacity = REQUESTS_PER_SECOND_PER_GPU * UTILISATION if gpu else _capacity(model, vcpus, adds_ms)
        least = max(2 if spread else 1, math.ceil(rate.average / capacity))
        most = max(least, math.ceil(rate.peak / capacity)) + 1
        # The champion's instances and one for the challenger: both variants always run.
        yield Option(
            f"SageMaker real-time, {least} + 1 x {instance}, up to {most}",
            prices.hourly("sagemaker", instance, least + 1),
            ServingDesign("realtime", instance, least, most, CANARY_STEPS, round(capacity * 60)),
            obstacles(REALTIME_LATENCY_MS, "the network and the container", gpu=gpu, pages=True, variants=True),
        )
    # KServe's, Knative's and Istio's controllers request 2 vCPUs and 4 GiB; plus the load balancer in front.
    controllers = (
        prices.hourly("ec2", "m5.large", 2 if spread else 1) + prices.hourly("elb", "alb") + prices.hourly("elb", "lcu")
    )
    capacity = _capacity(model, 1, CLUSTER_LATENCY_MS)
    replicas = max(2, math.ceil(rate.average / capacity))
    most = max(20, math.ceil(2 * UTILISATION * rate.peak / capacity))
    yield Option(
        f"KServe on the cluster, {replicas} + 1 replicas, up to {most}",
        controllers + (replicas + 1) * prices.hourly("ec2", "c5.large") / 2,
        ServingDesign("cluster", "c5.large", replicas, most, CANARY_STEPS, 0),
        obstacles(CLUSTER_LATENCY_MS, "the cluster's load balancer"),
    )
    gpus = max(2 if spread else 1, math.ceil(rate.average / (REQUESTS_PER_SECOND_PER_GPU * UTILISATION)))
    floor = 1 if spread else 0
    gpu_hour = prices.hourly("ec2", GPU_TYPE)
    most = max(gpus + 1, math.ceil(rate.peak / (REQUESTS_PER_SECOND_PER_GPU * UTILISATION)))
    yield Option(
        f"KServe with Triton, {gpus} + 1 x {GPU_TYPE} ({'1 on demand, ' if floor else ''}the rest on spot), up to"
        f" {most}",
        controllers + floor * gpu_hour + ((gpus + 1 - floor) * gpu_hour).on_spot(prices.spot_share(GPU_TYPE)),
        ServingDesign("cluster-gpu", GPU_TYPE, gpus, most, (), 0),
        obstacles(CLUSTER_LATENCY_MS, "the cluster's load balancer", gpu=True),
    )


def _capacity(model: ModelObjectives, vcpus: int, adds_ms: float) -> float:
    """Requests a second that an instance is planned for: of which 95 % are in time, and that leave room for peaks."""
    if model.service_ms is None:
        return vcpus * REQUESTS_PER_SECOND_PER_VCPU * UTILISATION
    service_s = model.service_ms / 1000
    in_time = highest_rate(vcpus, service_s, max(model.latency_ms - adds_ms, 1.05 * model.service_ms) / 1000)
    return min(vcpus / service_s * UTILISATION, in_time)


def retraining(name: str, objectives: Objectives, prices: PriceBook, chooser: Chooser) -> RetrainingDesign:
    """Where the pipeline runs when it is due."""
    wanted = objectives.models[name].retraining
    runs = 24 * 30 / wanted.every_hours

    def obstacles(minutes: float, why: str) -> tuple[Obstacle, ...]:
        found = []
        if wanted.within_minutes < minutes:
            found.append(
                Obstacle(
                    f"{why}: about {minutes:g} minutes",
                    f"models.{name}.retraining.within_minutes",
                    minutes,
                    wanted.within_minutes,
                )
            )
        if wanted.every_hours * 60 < minutes:
            found.append(
                Obstacle(
                    f"a run of {minutes:g} minutes would overlap the next one",
                    f"models.{name}.retraining.every_hours",
                    math.ceil(minutes / 6) / 10,
                )
            )
        return tuple(found)

    def unfit() -> tuple[Obstacle, ...]:
        path = f"models.{name}.retraining"
        if wanted.run_minutes is None or wanted.run_gb is None:
            return (Obstacle("no run has been measured; `groundplan measure` does it"),)
        found = []
        longest, largest = LAMBDA_MINUTES / LAMBDA_SLOWER, LAMBDA_GB / LAMBDA_LARGER
        if wanted.run_minutes > longest:
            found.append(
                Obstacle(
                    f"ends after {LAMBDA_MINUTES:g} minutes; a run of {wanted.run_minutes:g} may take twice as long",
                    f"{path}.run_minutes",
                    longest,
                    wanted.run_minutes,
                )
            )
        if wanted.run_gb > largest:
            found.append(
                Obstacle(
                    f"has at most {LAMBDA_GB:g} GB; a run of {wanted.run_gb:g} GB may grow by half",
                    f"{path}.run_gb",
                    round(largest, 2),
                    wanted.run_gb,
                )
            )
        minutes = LAMBDA_SLOWER * wanted.run_minutes + LAMBDA_START_MINUTES
        return (*found, *obstacles(minutes, "it starts, and may be half as fast as what measured it"))

    planned_minutes = LAMBDA_SLOWER * (wanted.run_minutes or LAMBDA_MINUTES / LAMBDA_SLOWER)
    memory_gb = min(LAMBDA_GB, max(LAMBDA_LEAST_GB, LAMBDA_LARGER * (wanted.run_gb or LAMBDA_GB)))
    steps = len(before_people_agree())
    # What is left for the training when the other steps have taken their time.
    training_minutes = wanted.within_minutes - (steps - 1) * JOB_START_MINUTES
    spot = training_minutes if training_minutes >= SPOT_LEAST_MINUTES else 0
    # The training's job; the others' work is small.
    training = prices.per_unit("sagemaker", JOB_TYPE, runs * (JOB_START_MINUTES + WORK_MINUTES) / 60, trainings(name))
    if spot:
        training = training.on_spot(prices.spot_share(JOB_TYPE))
    others = prices.per_unit("sagemaker", JOB_TYPE, runs * (steps - 1) * JOB_START_MINUTES / 60, trainings(name))
    releases = prices.per_unit("sagemaker", JOB_TYPE, RELEASES * JOB_START_MINUTES / 60)
    jobs, pod = steps * JOB_START_MINUTES + WORK_MINUTES, POD_START_MINUTES + WORK_MINUTES
    return chooser.choose(
        f"retraining {name}",
        [
            Option(
                f"SageMaker Pipeline, {steps} jobs{', the training on spot capacity' if spot else ''}, and one that"
                " releases",
                training + others + releases,
                RetrainingDesign("sagemaker-pipeline", wanted.every_hours, spot_minutes=spot),
                obstacles(jobs, "every step starts its own job"),
            ),
            Option(
                "CronJob on the cluster, on a node that is kept warm",
                prices.hourly("ec2", "m5.large"),
                RetrainingDesign("cluster-job", wanted.every_hours),
                obstacles(pod, "a pod starts, and the steps run in it"),
            ),
            Option(
                f"a function (AWS Lambda) with {memory_gb:.2g} GB, released by a SageMaker Pipeline of one job",
                prices.per_unit("lambda", "duration-x86", runs * planned_minutes * 60 * memory_gb, trainings(name))
                + releases,
                RetrainingDesign("lambda", wanted.every_hours, math.ceil(memory_gb * 1024)),
                unfit(),
            ),
        ],
        (
            f"models.{name}.retraining: every {wanted.every_hours:g} h within {wanted.within_minutes:g} min"
            + (f", a run takes {wanted.run_minutes:g} min and {wanted.run_gb:g} GB" if wanted.run_minutes else ""),
        ),
        f"{runs:,.0f} runs a month, each done within {wanted.within_minutes:g} minutes",
        model=name,
    )
