import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.cluster.service.ClusterService;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;

/** An OpenSearch node with the modules of its distribution that are published as libraries. */
final class EngineNode extends Node {
    private static final List<Class<? extends Plugin>> MODULES = List.of(
            org.opensearch.transport.Netty4Plugin.class,
            org.opensearch.painless.PainlessPlugin.class,
            org.opensearch.script.expression.ExpressionPlugin.class,
            org.opensearch.script.mustache.MustachePlugin.class,
            org.opensearch.index.reindex.ReindexPlugin.class,
            org.opensearch.ingest.common.IngestCommonPlugin.class,
            org.opensearch.analysis.common.CommonAnalysisPlugin.class,
            org.opensearch.index.mapper.MapperExtrasPlugin.class,
            org.opensearch.join.ParentJoinPlugin.class,
            org.opensearch.percolator.PercolatorPlugin.class,
            org.opensearch.index.rankeval.RankEvalPlugin.class,
            org.opensearch.search.aggregations.matrix.MatrixAggregationPlugin.class,
            org.opensearch.geo.GeoModulePlugin.class);

    private EngineNode(Environment environment) {
        super(environment, MODULES, true);
    }

    static EngineNode of(Map<String, String> values, Path home) {
        Settings.Builder settings = Settings.builder();
        values.forEach(settings::put);
        return new EngineNode(InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), home, () -> "node"));
    }

    String httpAddress() {
        return injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress().toString();
    }

    /** Only a node with logging of its own has something to name here. */
    @Override
    protected void configureNodeAndClusterIdStateListener(ClusterService service) {}
}
