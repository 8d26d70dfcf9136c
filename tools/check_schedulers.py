"""Writes trajectories of the schedulers of diffusers, in double precision, for comparison with ours.

    pip install torch diffusers scipy
    python3 tools/check_schedulers.py kernels-tests/fixtures/schedulers.json [RANDOM SEED]
    cargo test --release -p langevin --lib trajectories_of_diffusers -- --nocapture

The code of diffusers is run as it is, but for the names of types: float32 is float64. The network is a function in closed form, so that
the trajectory is that of the scheduler alone: output = 0.3 x + 0.5 sin(2 x + 0.01 t). For each class there are the configurations written below and
RANDOM random ones of SEED (6 of seed 0 unless given). A trajectory has the start, every draw, what the network is given at each evaluation, and the result. The
test prints the worst error of each class.
"""

import importlib.util
import json
import random
import sys
import types

import diffusers
import numpy as np
import torch

torch.set_default_dtype(torch.float64)

ELEMENTS = 4

BETAS = {
    "beta_schedule": ["linear", "scaled_linear", "squaredcos_cap_v2"],
    "num_train_timesteps": [1000, 200],
}
SPACED = {"timestep_spacing": ["linspace", "leading", "trailing"], "steps_offset": [0, 1]}
PREDICTIONS = ["epsilon", "v_prediction", "sample"]
SIGMAS = [{}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}]
FINAL = {"final_sigmas_type": ["zero", "sigma_min"]}
RESCALED = {"rescale_betas_zero_snr": [False, False, True]}

# Module, class, values of keys, alternatives of several keys, and configurations that are always taken.
CLASSES = [
    (
        "ddpm",
        "DDPMScheduler",
        {
            **BETAS,
            **SPACED,
            **RESCALED,
            "beta_schedule": ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"],
            "prediction_type": PREDICTIONS,
            "variance_type": ["fixed_small", "fixed_large", "fixed_small_log"],
            "clip_sample": [True, False],
        },
        [{}],
        [{}],
    ),
    (
        "ddim",
        "DDIMScheduler",
        {
            **BETAS,
            **SPACED,
            **RESCALED,
            "prediction_type": PREDICTIONS,
            "clip_sample": [True, False],
            "set_alpha_to_one": [True, False],
        },
        [{}],
        [{}],
    ),
    (
        "dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        {
            **BETAS,
            **SPACED,
            **RESCALED,
            "solver_order": [1, 2, 3],
            "prediction_type": PREDICTIONS,
            "solver_type": ["midpoint", "heun"],
            "lower_order_final": [True, False],
            "euler_at_final": [False, True],
            "lambda_min_clipped": [None, None, -2.0],
        },
        [
            {**sigmas, **algorithm}
            for sigmas in [*SIGMAS, {"use_lu_lambdas": True}]
            for algorithm in [
                {"algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"},
                {"algorithm_type": "dpmsolver++", "final_sigmas_type": "sigma_min"},
                {"algorithm_type": "sde-dpmsolver++"},
                {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
                {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"},
            ]
        ],
        [
            {},
            {"solver_order": 3},
            {"solver_order": 3, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
            {"solver_order": 3, "algorithm_type": "sde-dpmsolver++", "lower_order_final": False},
            {"algorithm_type": "sde-dpmsolver", "solver_type": "heun", "final_sigmas_type": "sigma_min"},
        ],
    ),
    (
        "dpmsolver_singlestep",
        "DPMSolverSinglestepScheduler",
        {
            **BETAS,
            "solver_order": [1, 2, 3],
            "prediction_type": PREDICTIONS,
            "solver_type": ["midpoint", "heun"],
            "lower_order_final": [True, False],
        },
        [
            {**sigmas, **algorithm}
            for sigmas in SIGMAS
            for algorithm in [
                {"algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"},
                {"algorithm_type": "dpmsolver++", "final_sigmas_type": "sigma_min"},
                {"algorithm_type": "sde-dpmsolver++"},
                {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
            ]
        ],
        [
            {},
            {"solver_order": 3},
            {"solver_order": 3, "solver_type": "heun", "algorithm_type": "sde-dpmsolver++"},
            {"solver_order": 3, "solver_type": "heun", "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
        ],
    ),
    (
        "unipc_multistep",
        "UniPCMultistepScheduler",
        {
            **BETAS,
            **SPACED,
            **FINAL,
            **RESCALED,
            "solver_order": [1, 2, 3, 4],
            "prediction_type": PREDICTIONS,
            "solver_type": ["bh1", "bh2"],
            "predict_x0": [True, False],
            "disable_corrector": [[], [0], [0, 1, 2]],
        },
        SIGMAS,
        [{}, {"solver_order": 3}, {"solver_type": "bh1", "final_sigmas_type": "sigma_min"}],
    ),
    (
        "deis_multistep",
        "DEISMultistepScheduler",
        {**BETAS, **SPACED, "solver_order": [1, 2, 3], "prediction_type": PREDICTIONS, "lower_order_final": [True, False]},
        SIGMAS,
        [{}, {"solver_order": 3}],
    ),
    (
        "pndm",
        "PNDMScheduler",
        {
            **BETAS,
            **SPACED,
            "skip_prk_steps": [True, False],
            "set_alpha_to_one": [True, False],
            "prediction_type": ["epsilon", "v_prediction"],
        },
        [{}],
        [{}, {"skip_prk_steps": True}],
    ),
    (
        "euler_discrete",
        "EulerDiscreteScheduler",
        {
            **BETAS,
            **SPACED,
            **FINAL,
            **RESCALED,
            "prediction_type": PREDICTIONS,
            "interpolation_type": ["linear", "linear", "log_linear"],
            "timestep_type": ["discrete", "continuous"],
        },
        [*SIGMAS, {"use_karras_sigmas": True, "sigma_min": 0.02, "sigma_max": 20.0}],
        [{}, {"interpolation_type": "log_linear"}],
    ),
    (
        "euler_ancestral_discrete",
        "EulerAncestralDiscreteScheduler",
        {**BETAS, **SPACED, **RESCALED, "prediction_type": ["epsilon", "v_prediction"]},
        [{}],
        [{}],
    ),
    (
        "heun_discrete",
        "HeunDiscreteScheduler",
        {
            **BETAS,
            **SPACED,
            "beta_schedule": ["linear", "scaled_linear", "squaredcos_cap_v2", "exp"],
            "prediction_type": PREDICTIONS,
            "clip_sample": [True, False],
        },
        SIGMAS,
        [{}],
    ),
    (
        "edm_euler",
        "EDMEulerScheduler",
        {
            **FINAL,
            "sigma_schedule": ["karras", "exponential"],
            "prediction_type": ["epsilon", "v_prediction"],
            "sigma_data": [0.5, 1.0],
            "rho": [7.0, 5.0],
        },
        [{}],
        [{}],
    ),
]


def in_double(module):
    """A module of diffusers with double precision in place of single."""
    spec = importlib.util.find_spec(f"diffusers.schedulers.scheduling_{module}")
    source = spec.loader.get_source(spec.name).replace("float32", "float64")
    made = types.ModuleType(spec.name)
    made.__package__ = "diffusers.schedulers"
    made.__file__ = spec.origin
    sys.modules[spec.name + "_double"] = made
    exec(compile(source, spec.origin, "exec"), made.__dict__)
    return made


def network(x, t):
    return 0.3 * x + 0.5 * torch.sin(2.0 * x + 0.01 * float(t))


def trajectory(module, name, config, steps, eta, seed):
    rng = np.random.default_rng(seed)
    draws = []

    def normal():
        return torch.from_numpy(rng.standard_normal((1, 1, 1, ELEMENTS)))

    def randn_tensor(shape, **_):
        assert tuple(shape) == (1, 1, 1, ELEMENTS), shape
        draws.append(normal())
        return draws[-1]

    module.randn_tensor = randn_tensor
    given = {key: value for key, value in config.items() if value is not None}
    # Keys that the class does not take reach it as they do from a file.
    scheduler = getattr(module, name).from_config({"_class_name": name, **given})
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        # Else it looks its first timestep up, and takes the second of two that are equal.
        scheduler.set_begin_index(0)
    start = normal()
    x = start * float(scheduler.init_noise_sigma)
    inputs, timesteps = [], []
    for t in scheduler.timesteps:
        given_x = scheduler.scale_model_input(x, t)
        inputs.append(given_x)
        timesteps.append(float(t))
        more = {"eta": eta} if name == "DDIMScheduler" else {}
        x = scheduler.step(network(given_x, t), t, x, **more).prev_sample
    values = lambda tensor: [float(v) for v in tensor.reshape(-1)]
    result = {
        "class": name,
        "config": config,
        "steps": steps,
        "eta": eta,
        "start": values(start),
        "draws": [values(z) for z in draws],
        "timesteps": timesteps,
        "inputs": [values(v) for v in inputs],
        "result": values(x),
    }
    finite = all(np.isfinite(v).all() for v in (*result["inputs"], result["result"]))
    return result if finite else None


def main():
    if len(sys.argv) not in (2, 4):
        raise SystemExit(__doc__)
    count, seed = (int(argument) for argument in sys.argv[2:] or ["6", "0"])
    choice = random.Random(seed)
    cases = []
    for file, name, values, alternatives, always in CLASSES:
        module = in_double(file)
        configs = [dict(config) for config in always]
        refused = 0
        while len(configs) < len(always) + count:
            config = {key: choice.choice(of) for key, of in values.items()}
            config.update(choice.choice(alternatives))
            if name in ("DDPMScheduler", "DDIMScheduler") and config["prediction_type"] == "epsilon":
                # The noise says nothing of the image where there is no signal: ours refuses it.
                config["rescale_betas_zero_snr"] = False
            configs.append(config)
        for number, config in enumerate(configs):
            steps = choice.choice([6, 7, 12, 17]) if number else 10
            eta = choice.choice([0.0, 0.6, 1.0]) if name == "DDIMScheduler" else 0.0
            try:
                case = trajectory(module, name, config, steps, eta, len(cases))
            except Exception as error:
                print(f"{name} {config}: diffusers fails: {error}")
                case = None
            if case is None:
                refused += 1
                continue
            cases.append(case)
        print(f"{name}: {len(configs) - refused} configurations, {refused} that diffusers does not compute")
    with open(sys.argv[1], "w") as out:
        json.dump({"diffusers": diffusers.__version__, "cases": cases}, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
