# Read at run time too: lazy_loader takes the public names and their places from here.
from . import evaluation as evaluation
from . import insight as insight
from .cluster import BalancedKMeans as BalancedKMeans
from .cluster import HierarchicalKMeans as HierarchicalKMeans
from .cluster import KMeans as KMeans
from .cluster import ManifoldKMeans as ManifoldKMeans
from .cluster import MiniBatchKMeans as MiniBatchKMeans
from .cluster import kmeans_batch as kmeans_batch
from .data import open_images as open_images
from .data import open_rows as open_rows
from .learning import SelfTaughtLearner as SelfTaughtLearner
from .maps import PCA as PCA
from .maps import TSNE as TSNE
from .metric import KISSME as KISSME
from .metric import LMNN as LMNN
from .metric import NCA as NCA
from .metric import RCA as RCA
from .metric import MahalanobisMetric as MahalanobisMetric
from .metric import mahalanobis as mahalanobis
from .metric import mahalanobis_to_components as mahalanobis_to_components
from .mining import mine_manifold as mine_manifold
from .neighbors import NeighborGraph as NeighborGraph
from .neighbors import NeighborIndex as NeighborIndex
from .neighbors import knn_graph as knn_graph
from .pipeline import run as run

__version__: str
