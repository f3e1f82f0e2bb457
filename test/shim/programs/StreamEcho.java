import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/** An echo server for many connections in one NIO selector: {@code StreamEcho ADDRESS PORT COUNT}. */
public final class StreamEcho {
  public static void main(String[] arguments) throws Exception {
    int count = Integer.parseInt(arguments[2]);
    long echoed = 0;
    int closed = 0;
    Selector selector = Selector.open();
    ServerSocketChannel listener = ServerSocketChannel.open();
    listener.setOption(StandardSocketOptions.SO_REUSEADDR, true);
    listener.bind(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])), count);
    listener.configureBlocking(false);
    listener.register(selector, SelectionKey.OP_ACCEPT);
    System.out.println("ready");
    while (closed < count) {
      selector.select();
      for (SelectionKey key : selector.selectedKeys()) {
        if (key.isAcceptable()) {
          SocketChannel connection = listener.accept();
          if (connection == null) continue;
          connection.configureBlocking(false);
          connection.register(selector, SelectionKey.OP_READ, ByteBuffer.allocate(65536));
          continue;
        }
        SocketChannel connection = (SocketChannel) key.channel();
        ByteBuffer buffer = (ByteBuffer) key.attachment();
        if (key.isReadable() && connection.read(buffer) < 0) {
          connection.close();
          closed++;
          continue;
        }
        buffer.flip();
        echoed += connection.write(buffer);
        // Reads on only when everything is sent.
        key.interestOps(buffer.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
        buffer.compact();
      }
      selector.selectedKeys().clear();
    }
    System.out.println(closed + " connections, " + echoed + " bytes");
  }
}
