"""MLflow scripts unknown to the project, as data scientists would write them."""

GRADIENT_BOOSTED_CLASSIFIER = """
import mlflow
import mlflow.sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import train_test_split

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
with mlflow.start_run(run_name="boosted"):
    mlflow.set_tag("team", "oncology")
    model = GradientBoostingClassifier(n_estimators=30, random_state=0).fit(X_train, y_train)
    mlflow.log_metric("accuracy", model.score(X_test, y_test))
    mlflow.sklearn.log_model(model, name="classifier")
"""

PIPELINE_WITH_PREPROCESSING = """
import mlflow
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

random = np.random.default_rng(7)
frame = pd.DataFrame({
    "age": random.uniform(18, 90, 400),
    "visits": random.integers(0, 20, 400),
    "plan": random.choice(["basic", "plus", "gold"], 400),
    "member": random.choice([True, False], 400),
})
churned = np.where((frame["visits"] < 5) & (frame["plan"] == "basic"), "yes", "no")
prepare = ColumnTransformer([
    ("numbers", Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())]), ["age", "visits"]),
    ("classes", OneHotEncoder(handle_unknown="ignore"), ["plan"]),
], remainder="passthrough")
model = Pipeline([("prepare", prepare), ("classify", LogisticRegression())])
mlflow.sklearn.autolog(disable=True)
model.fit(frame, churned)
mlflow.log_param("rows", len(frame))
mlflow.sklearn.log_model(model, "model")
mlflow.end_run()
"""

TWO_LABELS_A_ROW = """
import mlflow
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

random = np.random.default_rng(3)
X = pd.DataFrame(random.normal(size=(300, 3)), columns=["long", "fast", "loud"])
Y = pd.DataFrame({"war": X["loud"] > 0.3, "love": X["fast"] < 0}).astype(int)
X_train, X_test, Y_train, Y_test = train_test_split(X, Y, random_state=0)
with mlflow.start_run():
    model = RandomForestClassifier(10, random_state=0).fit(X_train, Y_train)
    mlflow.sklearn.log_model(model, name="model")
"""

ENDLESS = """
import time

import mlflow

with mlflow.start_run():
    print("begun", flush=True)
    time.sleep(600)
"""

BROKEN = """
import mlflow

with mlflow.start_run():
    raise ValueError("the training data are gone")
"""

NO_RUN = "print('hello')"

BOOSTED_WITH_GAPS = """
import sys

import mlflow
import numpy as np
import pandas as pd
import xgboost
from sklearn.model_selection import train_test_split

mlflow.set_tracking_uri("sqlite:///mine.db")
mlflow.set_experiment("wear")
mlflow.xgboost.autolog()
random = np.random.default_rng(9)
frame = pd.DataFrame(random.normal(size=(600, 2)), columns=["load (kN)", sys.argv[1]]).mask(random.random((600, 2)) < 0.1)
worn = ((frame["load (kN)"].fillna(0) + frame[sys.argv[1]].fillna(0.5)) > 0.3).astype(int)
X_train, X_test, y_train, y_test = train_test_split(frame, worn, random_state=0)
xgboost.XGBClassifier(n_estimators=20).fit(X_train, y_train)
"""
