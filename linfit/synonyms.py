"""What other libraries call linfit's keys and components, for the messages about unknown names.

A row says what is meant, and the words that mean it. Spelling alone finds `lr` for `lrr`, but for
`learning_rate` nothing, and for the loss `mae` the wrong one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

#: Keys of a config, by the words for them. Of several keys for a word the first that exists counts.
KEY_WORDS = {
    "steps": "epoch epochs n_epochs num_epochs max_epochs iter iters iterations n_iter num_iter "
    "niter n_iterations num_iterations max_iter maxiter max_iterations n_steps num_steps nsteps "
    "max_steps updates",
    "seed": "random_state random_seed rng_seed rng",
    "dtype": "precision float_type",
    "threads": "num_threads n_threads n_jobs",
    "name": "experiment experiment_name run_name",
    "loss": "criterion loss_fn loss_function",
    "optimizer": "optim solver algorithm method",
    "schedule": "scheduler lr_scheduler lr_schedule",
    "dataset": "data",
    "penalty": "regularizer regularization",
    "optimizer.lr": "learning_rate learningrate learning_rate_init eta eta0 step_size stepsize",
    "optimizer.momentum": "momentum beta mu",
    "optimizer.betas": "betas beta1 beta2 beta_1 beta_2 b1 b2",
    "optimizer.alpha": "rho smoothing",
    "optimizer.eps": "epsilon",
    "optimizer.weight_decay": "weight_decay wd l2",
    "penalty.strength": "alpha lambda lambda_ lam l2_regularization reg_lambda weight_decay",
    "batch.size": "batch_size batchsize minibatch_size mini_batch_size bs",
    "split.validation": "validation validation_split validation_fraction validation_size val_split "
    "val_size val_fraction test_size holdout hold_out",
    "split.k": "n_splits num_splits n_folds num_folds folds cv k_folds",
    "stop.gradient_norm": "tol tolerance gtol",
    "dataset.n": "n_samples num_samples",
    "dataset.p": "n_features num_features n_informative",
    "dataset.q": "n_targets num_targets n_outputs num_outputs",
    "dataset.path": "file filename filepath",
    "dataset.target": "targets y label labels target_column",
    "dataset.features": "columns x feature_columns",
    "dataset.weight": "weights sample_weight sample_weights",
    "dataset.separator": "sep delimiter",
    "dataset.decimal": "decimal_point decimal_separator",
    "dataset.encoding": "charset codec",
    "features.intercept": "fit_intercept bias",
    "features.scaling": "scaler normalize standardize scale",
    "features.centers": "n_centers num_centers",
    "features.width": "bandwidth length_scale sigma",
    "init.std": "sigma stddev scale",
}
#: Components of a group by the words for them, and overrides where no component is meant.
COMPONENT_WORDS = {
    "loss": {
        "mse": "mean_squared_error squared_error l2 squared",
        "sse": "sum_of_squares residual_sum_of_squares rss",
        "huber": "smooth_l1 smoothl1",
        "quantile": "pinball quantile_loss",
        "logistic": "log_loss logloss bce binary_cross_entropy bce_with_logits logit",
        "cross_entropy": "softmax multinomial categorical_cross_entropy nll",
        "squared_hinge": "l2_svm",
        "poisson": "poisson_nll count counts",
    },
    "penalty": {
        "ridge": "l2 tikhonov weight_decay",
        "lasso": "l1 sparse",
        "elastic_net": "elasticnet enet l1_l2",
        "none": "no null",
    },
    "features": {
        "raw": "none identity linear",
        "polynomial": "poly powers",
        "rbf": "gaussian radial kernel",
        "fourier": "trigonometric sines",
        "features.scaling=standardize": "standardize standardized standard standard_scaler scaled "
        "scale scaler normalize normalized zscore z_score",
        "features.scaling=whiten": "whiten whitened pca zca",
    },
    "optimizer": {
        "sgd": "gd gradient_descent momentum",
        "nesterov": "nag accelerated",
        "heavy_ball": "polyak",
        "closed_form": "ols lstsq least_squares normal_equations exact cholesky qr svd",
        "conjugate_gradient": "cg",
        "newton": "newton_cholesky newton_raphson irls damped_newton fisher_scoring newton_cg",
        "homotopy": "lars lasso_lars lars_lasso least_angle least_angle_regression lasso_path path",
        "coordinate_descent": "cd shooting gauss_seidel",
        "proximal_gradient": "ista proximal prox_gd pgd",
        "nadam": "nesterov_adam",
        "asgd": "averaged_sgd",
        "rprop": "resilient resilient_propagation",
        "schedule_free_sgd": "sgd_schedule_free sgdschedulefree",
        "schedule_free_adamw": "adamw_schedule_free adamwschedulefree schedule_free schedulefree",
    },
    "split": {
        "kfold": "k_fold cv cross_validation crossvalidation folds stratified stratified_kfold",
        "holdout": "none train_test_split validation shuffle_split",
    },
    "batch": {"minibatch": "mini_batch mini stochastic", "full": "full_batch none all"},
    "schedule": {"none": "constant", "cosine": "cosine_annealing", "step": "step_lr"},
    "init": {"zeros": "zero", "normal": "gaussian randn random", "given": "fixed"},
    "dataset": {
        "random_linear": "linear make_regression synthetic random",
        "classes": "make_blobs make_classification blobs gaussians",
        "counts": "poisson",
        "csv": "tsv",
    },
    "device": {"cuda": "gpu nvidia", "mps": "metal apple"},
    "engine": {"stacked": "batched vmap", "single": "sequential"},
    "tracking": {"none": "off false no"},
}
#: Components that are no synonym, but nearest in meaning of what there is.
NEAREST_COMPONENTS = {
    "loss": {
        "huber": "robust",
        "quantile": "mae l1 absolute absolute_error mean_absolute_error lad",
        "squared_hinge": "hinge svm",
    },
}
#: What a value has to be, where its bounds alone do not say so.
VALUE_HINTS = {
    "split.validation": "it is a share of the samples, no count and no percentage: "
    "0.25 holds out a quarter, and a count has to be divided by the number of samples",
}
#: Packages that bring a sweeper or a launcher of Hydra's.
HYDRA_PACKAGES = {
    "hydra/sweeper": {name: f"hydra-{name}-sweeper" for name in ("optuna", "ax", "nevergrad")},
    "hydra/launcher": {
        "joblib": "hydra-joblib-launcher",
        "ray": "hydra-ray-launcher",
        "ray_aws": "hydra-ray-launcher",
        "rq": "hydra-rq-launcher",
        "submitit_local": "hydra-submitit-launcher",
        "submitit_slurm": "hydra-submitit-launcher",
    },
}


def find_meant_keys(name: str) -> list[str]:
    """Return the keys of a config that a key of another library means, the likeliest first."""
    return list(_look_up(KEY_WORDS, name))


def find_meant_key(
    name: str, known: Collection[str], sections: Mapping[str, Sequence[str]] | None = None
) -> str | None:
    """Return the key that is meant by one that is not among the `known` keys of its section.

    `sections` are the keys of each section of the whole config: the key may belong to another one.
    Without them every key of a known section counts as one that exists.
    """
    meant = find_meant_keys(name)
    for key in meant:
        for spelled in (key, key.rpartition(".")[2]):
            if spelled in known and spelled != name:
                return spelled
    for key in meant:
        section, _, own = key.rpartition(".")
        if sections is None and (section or key) in known:
            return key
        if sections is not None and (own in sections.get(section, ()) or key in sections):
            return key
    for section, keys in (sections or {}).items():
        if _normalize(name) in keys:
            return f"{section}.{_normalize(name)}"
    return None


def find_meant_component(group: str, name: str) -> str | None:
    """Return the component of a group that a name of another library means."""
    return next(_look_up(COMPONENT_WORDS.get(group, {}), name), None)


def find_nearest_component(group: str, name: str) -> str | None:
    """Return the component that is nearest in meaning to one which does not exist."""
    return next(_look_up(NEAREST_COMPONENTS.get(group, {}), name), None)


def _look_up(words: Mapping[str, str], name: str) -> Iterator[str]:
    wanted = _normalize(name)
    return (meant for meant, known in words.items() if wanted in known.split())


def _normalize(name: str) -> str:
    return name.lower().replace("-", "_")
