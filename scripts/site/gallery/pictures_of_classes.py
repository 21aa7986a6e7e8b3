"""
Pictures of classes
===================

scikit-learn draws which classes are taken for which, and where the borders between them lie. Its displays take the
estimators of :mod:`fastprop.sklearn` as they are.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.metrics import ConfusionMatrixDisplay

from fastprop import Adam, Network
from fastprop.sklearn import MLPClassifier

X, Y = load_digits(return_X_y=True)
X, X_test, Y, Y_test = X[:1200] / 16, X[1200:] / 16, Y[:1200], Y[1200:]
classifier = MLPClassifier((64,), learning_rate_init=0.005, random_state=0).fit(X, Y)
display = ConfusionMatrixDisplay.from_estimator(classifier, X_test, Y_test, cmap="Blues", colorbar=False)

# %%
# Of a network it takes the predictions. Shares of the rows of each class show more than counts where some classes are
# rare:

net = Network((64, 64, 10), output="softmax", rng=0)
net.fit(X, Y, epochs=20, optimizer=Adam(lr=0.003))
display = ConfusionMatrixDisplay.from_predictions(
    Y_test, net.predict_classes(X_test), normalize="true", values_format=".0%", cmap="Blues", colorbar=False
)
assert np.trace(display.confusion_matrix) / 10 > 0.85

# %%
# The borders in a plane, here of three arms of a spiral, deeper where the classifier is more certain:

rng = np.random.default_rng(0)
arm, radius = np.repeat([0, 1, 2], 200), np.tile(np.linspace(0.2, 1, 200), 3)
angle = 5 * radius + 2 * np.pi / 3 * arm + rng.normal(scale=0.2, size=600)
points = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
classifier = MLPClassifier((64, 64), "tanh", learning_rate_init=0.005, max_iter=1000, random_state=0).fit(points, arm)
assert classifier.score(points, arm) > 0.97

colours = ["#0072b2", "#d55e00", "#009e73"]
display = DecisionBoundaryDisplay.from_estimator(
    classifier,
    points,
    response_method="predict_proba",
    multiclass_colors=colours,
    eps=0.1,
    grid_resolution=300,
    alpha=0.4,
)
display.ax_.scatter(*points.T, s=10, c=np.array(colours)[arm], edgecolors="black", linewidths=0.3)
plt.show()
