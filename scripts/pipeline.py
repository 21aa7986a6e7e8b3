"""Use a network in scikit-learn's tools: a pipeline that scales and classifies, and a search for its hyperparameters.

    python scripts/pipeline.py
    python scripts/pipeline.py --jobs -1

Only the line that imports `MLPClassifier` differs from the same script with `sklearn.neural_network`. The data are
scikit-learn's digits; a quarter of them is held out from the search. Within each fold the scaler sees only the rows
that the network is trained on. The script needs scikit-learn (pip install scikit-learn).
"""

import argparse
from collections.abc import Sequence

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fastprop.sklearn import MLPClassifier


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=3, help="folds of the cross-validation (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes of the search; -1: one per core (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split and the weights (%(default)s)")
    args = parser.parse_args(argv)

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=args.seed)

    network = MLPClassifier(learning_rate_init=0.005, max_iter=500, random_state=args.seed)
    pipeline = Pipeline([("scaler", StandardScaler()), ("network", network)])
    settings = {"network__hidden_layer_sizes": [(64,), (128, 64)], "network__alpha": [0.0001, 0.1]}
    search = GridSearchCV(pipeline, settings, cv=args.folds, n_jobs=args.jobs).fit(X_train, y_train)
    print(f"accuracy in {args.folds} folds of {len(X_train):,} rows")
    for given, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"]):
        print(f"  {score:.1%}  {given}")
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
    print(f"accuracy on {len(X_test):,} held-out rows {search.score(X_test, y_test):.1%}, "
          f"of a logistic regression {linear.score(X_test, y_test):.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
