/* Layers of one frame to an image, on the graphics card: what `compositing.js` computes, in a shader.
 *
 * A shader is written for the layers that are shown, in their order: without branches it is fast even where the
 * browser draws in software. All players of a page share one context, because a browser allows some sixteen; what was
 * drawn is copied to the player's own canvas.
 */

import { CHECKER, isResidualAlone, shownLayers } from './compositing.js'

export const MOST_LAYERS = 32
const MOST_PROGRAMS = 64
const GREY = [127.5, 127.5, 127.5]

const VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4(4.0 * corner - 1.0, 0.0, 1.0);
}`

const HEAD = `#version 300 es
precision highp float;
uniform sampler2D atlas;
uniform vec2 size;      // of the image, pixels
uniform vec2 cell;      // of a row's middle part in the atlas, 0..1
uniform vec2 margin;    // around it, or the colour of one row would be seen in the next
uniform float pitch;    // from row to row
uniform float opacity[${MOST_LAYERS}];
uniform vec3 colour;
uniform float edge;     // pixels from the left that show the layers
out vec4 result;

vec2 at;
vec3 row(float number) { return texture(atlas, vec2(at.x, at.y + number * pitch)).rgb; }
`

function writeLayer({ kind, row, alphaRow }, index) {
  const colour = `row(${row}.0)`
  if (kind === 'residual') return `  c += (2.0 * ${colour} - 1.0) * opacity[${index}];`
  const share = alphaRow == null ? '' : `row(${alphaRow}.0).r * `
  return `  c = mix(c, ${colour}, ${share}opacity[${index}]);`
}

function writeMatte(layers) {
  const lines = layers.map(({ alphaRow }, index) =>
    alphaRow == null ? '' : `  clear *= 1.0 - row(${alphaRow}.0).r * opacity[${index}];`
  )
  return ['  float clear = 1.0;', ...lines, '  c = vec3(1.0 - clear);'].join('\n')
}

/* The fragment shader of layers that are shown: { kind, row, alphaRow } of each, lowest first. */
function writeFragment(layers, isMatte, isChecker, blended) {
  const checker = `
  vec2 square = floor(pixel / ${CHECKER}.0);
  c = vec3(mod(square.x + square.y, 2.0) > 0.5 ? 0.6 : 0.4);`
  return `${HEAD}
void main() {
  vec2 pixel = vec2(floor(gl_FragCoord.x), size.y - 1.0 - floor(gl_FragCoord.y));
  at = margin + (pixel + 0.5) / size * cell;
  vec3 c = colour;
${isChecker ? checker : ''}
${isMatte ? writeMatte(layers) : layers.map(writeLayer).join('\n')}
${blended ? `  if (pixel.x >= edge) c = row(${blended.row}.0);` : ''}
  result = vec4(c, 1.0);
}`
}

function compile(gl, kind, source) {
  const shader = gl.createShader(kind)
  gl.shaderSource(shader, source)
  gl.compileShader(shader)
  return shader
}

function link(gl, fragment) {
  const program = gl.createProgram()
  gl.attachShader(program, compile(gl, gl.VERTEX_SHADER, VERTEX))
  gl.attachShader(program, compile(gl, gl.FRAGMENT_SHADER, fragment))
  gl.linkProgram(program)
  if (!gl.getProgramParameter(program, gl.LINK_STATUS))
    throw new Error(gl.getProgramInfoLog(program))
  return program
}

export class GpuCompositor {
  /* Throws where there is no WebGL 2. */
  constructor() {
    this.canvas = new OffscreenCanvas(1, 1)
    const gl = this.canvas.getContext('webgl2', { alpha: false, antialias: false, depth: false })
    if (!gl) throw new Error('no WebGL 2')
    this.gl = gl
    this.programs = new Map()
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture())
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T])
      gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE)
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false)
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE)
    this.largest = gl.getParameter(gl.MAX_TEXTURE_SIZE)
  }

  get isLost() {
    return this.gl.isContextLost()
  }

  /* Whether an atlas and its layers can be drawn here. */
  takes(width, height, layers) {
    return !this.isLost && Math.max(width, height) <= this.largest && layers.length <= MOST_LAYERS
  }

  /* Draw a frame as `compositeFrame` does.
   *
   * atlas: an ImageBitmap, or a video that has a frame; atlasSize: its [width, height]; rows: images in it.
   * Returns the canvas that holds it, valid until the next drawing.
   */
  draw(atlas, atlasSize, rows, width, height, layers, view) {
    const { gl } = this
    if (this.canvas.width !== width || this.canvas.height !== height)
      Object.assign(this.canvas, { width, height })
    gl.viewport(0, 0, width, height)
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, atlas)
    const isExact = atlasSize[0] === width && atlasSize[1] === rows * height
    const filter = isExact ? gl.NEAREST : gl.LINEAR
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter)
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter)
    const place = this.useProgram(width, layers, view)
    const margin = isExact ? [0, 0] : atlasSize.map((length) => 0.5 / length)
    gl.uniform2f(place('size'), width, height)
    gl.uniform2f(place('margin'), ...margin)
    gl.uniform2f(place('cell'), 1 - 2 * margin[0], 1 / rows - 2 * margin[1])
    gl.uniform1f(place('pitch'), 1 / rows)
    gl.drawArrays(gl.TRIANGLES, 0, 3)
    return this.canvas
  }

  /* Take the shader of what is shown and tell it the view; returns where its uniforms stand. */
  useProgram(width, layers, view) {
    const { gl } = this
    const shown = shownLayers(layers)
    const blended = view.wipe == null ? null : layers.find((layer) => layer.kind === 'blended')
    const isGrey = isResidualAlone(shown)
    const isChecker = view.backdrop.kind === 'checker' && !isGrey
    const { program, places } = this.programOf(writeFragment(shown, view.matte, isChecker, blended))
    const place = (name) => {
      if (!places.has(name)) places.set(name, gl.getUniformLocation(program, name))
      return places.get(name)
    }
    gl.useProgram(program)
    if (shown.length)
      gl.uniform1fv(
        place('opacity'),
        shown.map(({ opacity }) => opacity)
      )
    const colour = isGrey ? GREY : (view.backdrop.colour ?? [0, 0, 0])
    gl.uniform3fv(
      place('colour'),
      colour.map((value) => value / 255)
    )
    gl.uniform1f(place('edge'), Math.round((view.wipe ?? 1) * width))
    return place
  }

  programOf(source) {
    if (!this.programs.has(source)) {
      if (this.programs.size >= MOST_PROGRAMS) this.forgetPrograms()
      this.programs.set(source, { program: link(this.gl, source), places: new Map() })
    }
    return this.programs.get(source)
  }

  forgetPrograms() {
    for (const { program } of this.programs.values()) this.gl.deleteProgram(program)
    this.programs.clear()
  }
}

let shared = null

/* The page's compositor, or null where the browser has no WebGL 2. */
export function sharedCompositor() {
  if (shared?.isLost) shared = null
  try {
    shared ??= new GpuCompositor()
  } catch {
    return null
  }
  return shared
}
