import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.apache.logging.log4j.ThreadContext;

/** Logs by log4j2 on every level. */
public class Log4j2 {
    public static void main(String[] arguments) {
        Logger logger = LogManager.getLogger("shop");
        for (String level : new String[] {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}) {
            logger.log(Level.getLevel(level), "{} of log4j2", level);
        }
        ThreadContext.put("user", "bob");
        logger.error("caught", new IllegalStateException("wrong"));
    }
}
