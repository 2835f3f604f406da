import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.Plugin;

/** An Elasticsearch node with the modules of its distribution that are published as libraries. */
final class EngineNode extends Node {
    private static final List<Class<? extends Plugin>> MODULES = List.of(
            org.elasticsearch.transport.Netty4Plugin.class,
            org.elasticsearch.painless.PainlessPlugin.class,
            org.elasticsearch.script.expression.ExpressionPlugin.class,
            org.elasticsearch.script.mustache.MustachePlugin.class,
            org.elasticsearch.index.reindex.ReindexPlugin.class,
            org.elasticsearch.ingest.common.IngestCommonPlugin.class,
            org.elasticsearch.analysis.common.CommonAnalysisPlugin.class,
            org.elasticsearch.index.mapper.MapperExtrasPlugin.class,
            org.elasticsearch.join.ParentJoinPlugin.class,
            org.elasticsearch.percolator.PercolatorPlugin.class,
            org.elasticsearch.index.rankeval.RankEvalPlugin.class,
            org.elasticsearch.search.aggregations.matrix.MatrixAggregationPlugin.class);

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
